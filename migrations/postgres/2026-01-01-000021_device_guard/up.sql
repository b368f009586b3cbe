-- Ours: what trackers remember of devices: the mark of the disk (mount guard), and since when nobody reaches it. A reference
-- tracker does not know it.

CREATE TABLE IF NOT EXISTS mogilefs_device_guard (
  devid INTEGER NOT NULL PRIMARY KEY,
  uuid VARCHAR(64),
  first_seen BIGINT NOT NULL,
  unreachable_since BIGINT,
  unreachable_seen BIGINT,
  changed_at BIGINT
);
