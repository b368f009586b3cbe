-- Ours: what trackers remember of devices: the mark of the disk (mount guard), and since when nobody reaches it. A reference
-- tracker does not know it.

CREATE TABLE IF NOT EXISTS mogilefs_device_guard (
  devid MEDIUMINT UNSIGNED NOT NULL PRIMARY KEY,
  uuid VARCHAR(64),
  first_seen INT UNSIGNED NOT NULL,
  unreachable_since INT UNSIGNED,
  unreachable_seen INT UNSIGNED,
  changed_at INT UNSIGNED
);
