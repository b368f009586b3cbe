-- Tables of the extension MetaData (docs/EXTENSIONS.md). Two rows of one name are the same name.

CREATE TABLE IF NOT EXISTS plugin_metadata_names (
  nameid INTEGER PRIMARY KEY AUTOINCREMENT,
  name VARCHAR(255) NOT NULL
);

CREATE TABLE IF NOT EXISTS plugin_metadata_data (
  fid BIGINT UNSIGNED NOT NULL,
  nameid BIGINT UNSIGNED NOT NULL,
  data VARCHAR(255) NOT NULL,
  PRIMARY KEY (fid, nameid)
);
