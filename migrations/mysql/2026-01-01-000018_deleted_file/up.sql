-- Ours: files that were deleted while the server setting undelete_window_secs was on. A reference tracker does not know it.

CREATE TABLE IF NOT EXISTS mogilefs_deleted_file (
  fid BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  dmid SMALLINT UNSIGNED NOT NULL,
  dkey VARCHAR(255),
  length BIGINT UNSIGNED,
  classid TINYINT UNSIGNED NOT NULL,
  devcount TINYINT UNSIGNED NOT NULL,
  deleted_at INT UNSIGNED NOT NULL,
  due_at INT UNSIGNED NOT NULL,
  KEY dkey (dmid, dkey),
  KEY due_at (due_at)
) ENGINE=InnoDB;
