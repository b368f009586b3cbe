//! The numbers that name things, each a type of its own so that a device number is never taken for a file number.
//!
//! All of them are signed 64-bit inside: every column of the schema fits (database.md 1.5), whatever its width there.

/// Declares one id type: a transparent wrapper around `i64` that prints as the bare number.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl From<i64> for $name {
            fn from(number: i64) -> Self {
                Self(number)
            }
        }

        impl slog::Value for $name {
            fn serialize(
                &self,
                _record: &slog::Record<'_>,
                key: slog::Key,
                serializer: &mut dyn slog::Serializer,
            ) -> slog::Result {
                serializer.emit_i64(key, self.0)
            }
        }
    };
}

id! {
    /// Number of a stored file (`file.fid`).
    Fid
}
id! {
    /// Number of a domain (`domain.dmid`).
    Dmid
}
id! {
    /// Number of a class within its domain (`class.classid`); 0 is the class `default`.
    ClassId
}
id! {
    /// Number of a host (`host.hostid`).
    HostId
}
id! {
    /// Number of a device (`device.devid`).
    DevId
}

impl ClassId {
    /// The class that every domain has, stored or not.
    pub const DEFAULT: ClassId = ClassId(0);
}
