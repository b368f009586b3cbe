-- Ours: the runs of fsck, so that it can be said what each saw. A reference tracker does not know it.

CREATE TABLE IF NOT EXISTS mogilefs_fsck_run (
  runid BIGINT NOT NULL PRIMARY KEY,
  started INT NOT NULL,
  ended INT,
  first_fid BIGINT NOT NULL,
  last_fid BIGINT NOT NULL,
  first_logid INT NOT NULL,
  options TEXT NOT NULL
);
