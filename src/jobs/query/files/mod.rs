//! Commands about files, one file each.

pub mod bad_path;
pub mod create_close;
pub mod create_open;
pub mod delete;
pub mod edit_file;
pub mod explain;
pub mod file_debug;
pub mod file_info;
pub mod get_paths;
pub mod list_deleted;
pub mod list_fids;
pub mod list_keys;
mod many;
pub mod rename;
pub mod undelete;
pub mod updateclass;
mod wait_copies;
