-- Tables of the extension FilePaths (docs/EXTENSIONS.md), as its Perl plugin makes them: upper and lower case of a name are
-- different. A node without fid is a directory; the root is number 0 and has no row.

CREATE TABLE IF NOT EXISTS plugin_filepaths_paths (
  nodeid BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  dmid SMALLINT UNSIGNED NOT NULL,
  parentnodeid BIGINT UNSIGNED NOT NULL,
  nodename VARCHAR(255) BINARY NOT NULL,
  fid BIGINT UNSIGNED,
  PRIMARY KEY (nodeid),
  UNIQUE KEY (dmid, parentnodeid, nodename)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS plugin_filepaths_domains (
  dmid SMALLINT UNSIGNED NOT NULL,
  PRIMARY KEY (dmid)
) ENGINE=InnoDB;
