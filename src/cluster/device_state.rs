//! What the operator says of a host or device, what the monitor saw of it, and what each permits.
//! Source: jobs.md 2.1–2.3, protocol.md 8.4.

/// `device.status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceStatus {
    Alive,
    Readonly,
    Drain,
    Down,
    Dead,
}

impl DeviceStatus {
    /// The status of this name; any other text counts as [`DeviceStatus::Down`] where it is read from the database.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "alive" => Self::Alive,
            "readonly" => Self::Readonly,
            "drain" => Self::Drain,
            "down" => Self::Down,
            "dead" => Self::Dead,
            _ => return None,
        })
    }

    /// The word in the database and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Readonly => "readonly",
            Self::Drain => "drain",
            Self::Down => "down",
            Self::Dead => "dead",
        }
    }

    pub fn may_be_read(self) -> bool {
        matches!(self, Self::Alive | Self::Drain | Self::Readonly)
    }

    /// May copies be deleted from it, and test files be written?
    pub fn may_be_written(self) -> bool {
        matches!(self, Self::Alive | Self::Drain)
    }

    pub fn may_get_new_files(self) -> bool {
        self == Self::Alive
    }
}

/// `host.status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostStatus {
    Alive,
    Readonly,
    Down,
    Dead,
}

impl HostStatus {
    /// The status of this name; `None` (nothing is allowed) for any other text.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "alive" => Self::Alive,
            "readonly" => Self::Readonly,
            "down" => Self::Down,
            "dead" => Self::Dead,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Readonly => "readonly",
            Self::Down => "down",
            Self::Dead => "dead",
        }
    }
}

/// What the monitor of this tracker saw of a device. Never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObservedDevice {
    Writeable,
    Readable,
    Unreachable,
}

impl ObservedDevice {
    /// The word of `get_devices`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Writeable => "writeable",
            Self::Readable => "readable",
            Self::Unreachable => "unreachable",
        }
    }
}

/// What the monitor of this tracker saw of a host. Never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObservedHost {
    Reachable,
    Unreachable,
}

impl ObservedHost {
    /// The word for operators.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
        }
    }
}
