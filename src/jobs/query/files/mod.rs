//! Commands about files, one file each.

pub mod create_close;
pub mod create_open;
pub mod delete;
pub mod edit_file;
pub mod file_debug;
pub mod file_info;
pub mod get_paths;
pub mod list_fids;
pub mod list_keys;
pub mod rename;
pub mod updateclass;
