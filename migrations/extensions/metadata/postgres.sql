-- Tables of the extension MetaData (docs/EXTENSIONS.md). Two rows of one name are the same name.

CREATE TABLE IF NOT EXISTS plugin_metadata_names (
  nameid BIGSERIAL PRIMARY KEY,
  name VARCHAR(255) NOT NULL
);

CREATE TABLE IF NOT EXISTS plugin_metadata_data (
  fid BIGINT NOT NULL,
  nameid BIGINT NOT NULL,
  data VARCHAR(255) NOT NULL,
  PRIMARY KEY (fid, nameid)
);
