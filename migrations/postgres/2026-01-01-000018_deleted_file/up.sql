-- Ours: files that were deleted while the server setting undelete_window_secs was on. A reference tracker does not know it.

CREATE TABLE IF NOT EXISTS mogilefs_deleted_file (
  fid BIGINT NOT NULL PRIMARY KEY,
  dmid SMALLINT NOT NULL,
  dkey VARCHAR(255),
  length BIGINT,
  classid SMALLINT NOT NULL,
  devcount SMALLINT NOT NULL,
  deleted_at BIGINT NOT NULL,
  due_at BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS mogilefs_deleted_file_dkey ON mogilefs_deleted_file (dmid, dkey);
CREATE INDEX IF NOT EXISTS mogilefs_deleted_file_due_at ON mogilefs_deleted_file (due_at);
