-- Ours: the runs of fsck, so that it can be said what each saw. A reference tracker does not know it.

CREATE TABLE IF NOT EXISTS mogilefs_fsck_run (
  runid BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  started INT UNSIGNED NOT NULL,
  ended INT UNSIGNED,
  first_fid BIGINT UNSIGNED NOT NULL,
  last_fid BIGINT UNSIGNED NOT NULL,
  first_logid INT UNSIGNED NOT NULL,
  options TEXT NOT NULL
) ENGINE=InnoDB;
