-- Tables of the extension FilePaths (docs/EXTENSIONS.md). A node without fid is a directory; the root is number 0 and has no row.

CREATE TABLE IF NOT EXISTS plugin_filepaths_paths (
  nodeid INTEGER PRIMARY KEY AUTOINCREMENT,
  dmid SMALLINT UNSIGNED NOT NULL,
  parentnodeid BIGINT UNSIGNED NOT NULL,
  nodename VARCHAR(255) NOT NULL,
  fid BIGINT UNSIGNED,
  UNIQUE (dmid, parentnodeid, nodename)
);

CREATE TABLE IF NOT EXISTS plugin_filepaths_domains (
  dmid SMALLINT UNSIGNED NOT NULL PRIMARY KEY
);
