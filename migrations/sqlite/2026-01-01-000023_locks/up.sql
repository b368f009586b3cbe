-- Ours: locks that trackers take from each other where the locks of the server do not do (setting database.locks = "table"), and
-- counters that stand for row locks on clusters whose nodes do not see each other's. A reference tracker does not know them.

CREATE TABLE IF NOT EXISTS mogilefs_lock (
  name VARCHAR(64) NOT NULL PRIMARY KEY,
  owner VARCHAR(64) NOT NULL,
  hostname VARCHAR(255) NOT NULL,
  pid INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  writes INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS mogilefs_hold (
  name VARCHAR(64) NOT NULL PRIMARY KEY,
  writes INTEGER NOT NULL
);
