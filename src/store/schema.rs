//! The tables of schema version 17, and our own `mogilefs_…`, as diesel sees them on all three databases (database.md 1.4).
//!
//! Columns that no query reads are left out. Never `SELECT *`: databases that were upgraded have other column orders.

#![allow(missing_docs)]

use super::types::{AnyInt, KeyText};
use diesel::sql_types::{Binary, Nullable, Text};

diesel::table! {
    use super::{AnyInt, KeyText, Text};

    domain (dmid) {
        dmid -> AnyInt,
        namespace -> KeyText,
    }
}

diesel::table! {
    use super::{AnyInt, KeyText, Nullable, Text};

    class (dmid, classid) {
        dmid -> AnyInt,
        classid -> AnyInt,
        classname -> KeyText,
        mindevcount -> AnyInt,
        hashtype -> Nullable<AnyInt>,
        replpolicy -> Nullable<Text>,
    }
}

diesel::table! {
    use super::{AnyInt, KeyText, Text};

    file (fid) {
        fid -> AnyInt,
        dmid -> AnyInt,
        dkey -> KeyText,
        length -> AnyInt,
        classid -> AnyInt,
        devcount -> AnyInt,
    }
}

diesel::table! {
    use super::{AnyInt, KeyText, Nullable, Text};

    tempfile (fid) {
        fid -> AnyInt,
        createtime -> AnyInt,
        classid -> AnyInt,
        dmid -> AnyInt,
        dkey -> KeyText,
        devids -> Nullable<Text>,
    }
}

diesel::table! {
    use super::AnyInt;

    file_on (fid, devid) {
        fid -> AnyInt,
        devid -> AnyInt,
    }
}

diesel::table! {
    use super::{AnyInt, Nullable, Text};

    host (hostid) {
        hostid -> AnyInt,
        status -> Nullable<Text>,
        http_port -> Nullable<AnyInt>,
        http_get_port -> Nullable<AnyInt>,
        hostname -> Nullable<Text>,
        hostip -> Nullable<Text>,
        altip -> Nullable<Text>,
        altmask -> Nullable<Text>,
    }
}

diesel::table! {
    use super::{AnyInt, Nullable, Text};

    device (devid) {
        devid -> AnyInt,
        hostid -> AnyInt,
        status -> Nullable<Text>,
        weight -> Nullable<AnyInt>,
        mb_total -> Nullable<AnyInt>,
        mb_used -> Nullable<AnyInt>,
        mb_asof -> Nullable<AnyInt>,
    }
}

diesel::table! {
    use super::{Nullable, Text};

    server_settings (field) {
        field -> Text,
        value -> Nullable<Text>,
    }
}

diesel::table! {
    use super::{AnyInt, Nullable};

    file_to_replicate (fid) {
        fid -> AnyInt,
        nexttry -> AnyInt,
        fromdevid -> Nullable<AnyInt>,
        failcount -> AnyInt,
        flags -> AnyInt,
    }
}

diesel::table! {
    use super::{AnyInt, Nullable, Text};

    file_to_queue (fid, kind) {
        fid -> AnyInt,
        devid -> Nullable<AnyInt>,
        #[sql_name = "type"]
        kind -> AnyInt,
        nexttry -> AnyInt,
        failcount -> AnyInt,
        flags -> AnyInt,
        arg -> Nullable<Text>,
    }
}

diesel::table! {
    use super::AnyInt;

    file_to_delete2 (fid) {
        fid -> AnyInt,
        nexttry -> AnyInt,
        failcount -> AnyInt,
    }
}

diesel::table! {
    use super::{AnyInt, KeyText};

    mogilefs_deleted_file (fid) {
        fid -> AnyInt,
        dmid -> AnyInt,
        dkey -> KeyText,
        length -> AnyInt,
        classid -> AnyInt,
        devcount -> AnyInt,
        deleted_at -> AnyInt,
        due_at -> AnyInt,
    }
}

diesel::table! {
    use super::AnyInt;

    file_to_delete (fid) {
        fid -> AnyInt,
    }
}

diesel::table! {
    use super::AnyInt;

    file_to_delete_later (fid) {
        fid -> AnyInt,
        delafter -> AnyInt,
    }
}

diesel::table! {
    use super::{AnyInt, Binary};

    checksum (fid) {
        fid -> AnyInt,
        hashtype -> AnyInt,
        #[sql_name = "checksum"]
        digest -> Binary,
    }
}

diesel::table! {
    use super::{AnyInt, Nullable, Text};

    fsck_log (logid) {
        logid -> AnyInt,
        utime -> AnyInt,
        fid -> Nullable<AnyInt>,
        evcode -> Nullable<Text>,
        devid -> Nullable<AnyInt>,
    }
}

diesel::table! {
    use super::{AnyInt, Nullable, Text};

    mogilefs_fsck_run (runid) {
        runid -> AnyInt,
        started -> AnyInt,
        ended -> Nullable<AnyInt>,
        first_fid -> AnyInt,
        last_fid -> AnyInt,
        first_logid -> AnyInt,
        options -> Text,
    }
}

diesel::table! {
    use super::{AnyInt, Text};

    lock (lockid) {
        lockid -> AnyInt,
        hostname -> Text,
        pid -> AnyInt,
        acquiredat -> AnyInt,
    }
}

diesel::table! {
    use super::{AnyInt, KeyText, Nullable};

    plugin_filepaths_paths (nodeid) {
        nodeid -> AnyInt,
        dmid -> AnyInt,
        parentnodeid -> AnyInt,
        nodename -> KeyText,
        fid -> Nullable<AnyInt>,
    }
}

diesel::table! {
    use super::AnyInt;

    plugin_filepaths_domains (dmid) {
        dmid -> AnyInt,
    }
}

diesel::table! {
    use super::{AnyInt, KeyText};

    plugin_metadata_names (nameid) {
        nameid -> AnyInt,
        name -> KeyText,
    }
}

diesel::table! {
    use super::{AnyInt, KeyText};

    plugin_metadata_data (fid, nameid) {
        fid -> AnyInt,
        nameid -> AnyInt,
        data -> KeyText,
    }
}

diesel::table! {
    use super::{AnyInt, Nullable, Text};

    mogilefs_device_guard (devid) {
        devid -> AnyInt,
        uuid -> Nullable<Text>,
        first_seen -> AnyInt,
        unreachable_since -> Nullable<AnyInt>,
        unreachable_seen -> Nullable<AnyInt>,
        changed_at -> Nullable<AnyInt>,
    }
}

diesel::table! {
    use super::{AnyInt, Text};

    mogilefs_lock (name) {
        name -> Text,
        owner -> Text,
        hostname -> Text,
        pid -> AnyInt,
        expires_at -> AnyInt,
        writes -> AnyInt,
    }
}

diesel::table! {
    use super::{AnyInt, Text};

    mogilefs_hold (name) {
        name -> Text,
        writes -> AnyInt,
    }
}

diesel::joinable!(file_on -> file (fid));
diesel::allow_tables_to_appear_in_same_query!(
    file,
    plugin_filepaths_paths,
    plugin_metadata_names,
    plugin_metadata_data
);
diesel::allow_tables_to_appear_in_same_query!(file, file_to_replicate);
diesel::allow_tables_to_appear_in_same_query!(file, file_to_queue);
diesel::allow_tables_to_appear_in_same_query!(mogilefs_deleted_file, file_to_delete2);
diesel::allow_tables_to_appear_in_same_query!(file_on, file_to_delete2);
diesel::allow_tables_to_appear_in_same_query!(file, file_on, tempfile, domain, class, checksum);
