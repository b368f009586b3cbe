//! The error codes of the protocol with their sentences (protocol.md 11). Clients depend on the codes; they are
//! listed here once.

/// Declares the codes: variant, word on the wire, default text (the word itself if none).
macro_rules! error_codes {
    ($($variant:ident $code:literal $text:expr;)*) => {
        /// An error code of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($variant,)*
        }

        impl ErrorCode {
            /// Every code, sorted by its word.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The word on the wire.
            pub fn code(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $code,)*
                }
            }

            /// The sentence that is sent when a command supplies none; never empty.
            pub fn text(self) -> &'static str {
                let text = match self {
                    $(ErrorCode::$variant => $text,)*
                };
                if text.is_empty() { self.code() } else { text }
            }
        }
    };
}

error_codes! {
    AccessDenied "access_denied" "Not allowed from this address";
    AfterMismatch "after_mismatch" "Pattern does not match the after-value?";
    BadArgcount "bad_argcount" "";
    BadArgs "bad_args" "";
    BadParams "bad_params" "Invalid parameters to command; please see documentation";
    BadRebalPol "bad_rebal_pol" "";
    BadlyFormedNew "badly_formed_new" "The new path is not a valid absolute path";
    BadlyFormedOrig "badly_formed_orig" "The old path is not a valid absolute path";
    BogusArgs "bogus_args" "";
    ChecksumMismatch "checksum_mismatch" "";
    ClassExists "class_exists" "That class already exists in that domain";
    ClassHasFiles "class_has_files" "Class still has files, unable to delete";
    ClassNotFound "class_not_found" "Class not found";
    CopyErr "copy_err" "";
    Db "db" "Database error";
    DomainExists "domain_exists" "That domain already exists";
    DomainHasClasses "domain_has_classes" "";
    DomainHasFiles "domain_has_files" "Domain still has files, unable to delete";
    DomainNotFound "domain_not_found" "Domain not found";
    Dup "dup" "Duplicate name/number used.";
    ExistingDevid "existing_devid" "";
    Failure "failure" "Operation failed";
    FidExists "fid_exists" "";
    FidInUse "fid_in_use" "";
    FsckRunning "fsck_running" "";
    HostExists "host_exists" "That host already exists";
    HostMismatch "host_mismatch" "The device specified doesn't belong to the host specified";
    HostNotEmpty "host_not_empty" "Unable to delete host; it contains devices still";
    HostNotFound "host_not_found" "Host not found";
    InvalidChecksumFormat "invalid_checksum_format" "";
    InvalidDestdev "invalid_destdev" "";
    InvalidDevid "invalid_devid" "";
    InvalidFormat "invalid_format" "";
    InvalidHashtype "invalid_hashtype" "";
    InvalidKey "invalid_key" "";
    InvalidMindevcount "invalid_mindevcount" "The mindevcount must be at least 1";
    InvalidReplpolicy "invalid_replpolicy" "";
    InvalidState "invalid_state" "";
    KeyExists "key_exists" "Target key name already exists; can't overwrite.";
    NoClass "no_class" "No class provided";
    NoDevice "no_device" "Device not found";
    NoDevices "no_devices" "No devices found to store file";
    NoDevid "no_devid" "";
    NoDomain "no_domain" "No domain provided";
    NoFid "no_fid" "";
    NoHost "no_host" "No host provided";
    NoIp "no_ip" "IP required to create host";
    NoKey "no_key" "";
    NoPath "no_path" "";
    NoPort "no_port" "Port required to create host";
    NoRebalPolicy "no_rebal_policy" "No rebalance policy available";
    NoRebalState "no_rebal_state" "No available rebalance status";
    NoSetRebal "no_set_rebal" "";
    NoTempFile "no_temp_file" "No tempfile or file already closed";
    NodelDefaultClass "nodel_default_class" "Cannot delete the default class";
    NoneMatch "none_match" "No keys match that pattern and after-value (if any).";
    NotWritable "not_writable" "";
    PathNotFound "path_not_found" "Path provided was not found in database";
    PluginAborted "plugin_aborted" "Action aborted by plugin";
    PluginNotActiveForDomain "plugin_not_active_for_domain" "";
    RebalNotStarted "rebal_not_started" "Rebalance not running";
    RebalRunning "rebal_running" "";
    RenameFailed "rename_failed" "";
    SizeMismatch "size_mismatch" "";
    SizeVerifyError "size_verify_error" "";
    StateTooHigh "state_too_high" "Status cannot go from dead to alive; must use down";
    UnknownCommand "unknown_command" "Unknown server command";
    UnknownHost "unknown_host" "Host not found";
    UnknownHostid "unknown_hostid" "";
    UnknownKey "unknown_key" "";
    UnknownState "unknown_state" "Invalid/unknown state";
    UnregClass "unreg_class" "";
    UnregDomain "unreg_domain" "Domain name invalid/not found";
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn codes_are_sorted_words_with_texts() {
        let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.code()).collect();
        assert!(codes.is_sorted());
        for code in ErrorCode::ALL {
            assert!(code.code().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{code}");
            assert!(!code.text().is_empty());
        }
    }
}
