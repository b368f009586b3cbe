-- Tables of the extension FilePaths (docs/EXTENSIONS.md). A node without fid is a directory; the root is number 0 and has no row.

CREATE TABLE IF NOT EXISTS plugin_filepaths_paths (
  nodeid BIGSERIAL PRIMARY KEY,
  dmid SMALLINT NOT NULL,
  parentnodeid BIGINT NOT NULL,
  nodename VARCHAR(255) NOT NULL,
  fid BIGINT,
  UNIQUE (dmid, parentnodeid, nodename)
);

CREATE TABLE IF NOT EXISTS plugin_filepaths_domains (
  dmid SMALLINT NOT NULL PRIMARY KEY
);
