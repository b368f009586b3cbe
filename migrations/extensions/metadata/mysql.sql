-- Tables of the extension MetaData (docs/EXTENSIONS.md), as its Perl plugin makes them. Two rows of one name are the same name.

CREATE TABLE IF NOT EXISTS plugin_metadata_names (
  nameid BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  name VARCHAR(255) NOT NULL,
  PRIMARY KEY (nameid)
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS plugin_metadata_data (
  fid BIGINT UNSIGNED NOT NULL,
  nameid BIGINT UNSIGNED NOT NULL,
  data VARCHAR(255) NOT NULL,
  PRIMARY KEY (fid, nameid)
) ENGINE=InnoDB;
