//! One copy: a fid on a device. Its path below the node's document root, and the URLs of it.
//! Source: protocol.md 8.3, storage-node.md 2.

use crate::ids::{DevId, Fid};

/// A fid on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DevFid {
    pub devid: DevId,
    pub fid: Fid,
}

impl DevFid {
    /// `/dev<devid>/<b>/<mmm>/<ttt>/<nfid>.fid`, with the fid padded to ten digits.
    pub fn path(self) -> String {
        let nfid = format!("{:010}", self.fid.0);
        let (b, mmm, ttt) = (&nfid[0..1], &nfid[1..4], &nfid[4..7]);
        format!("/dev{}/{b}/{mmm}/{ttt}/{nfid}.fid", self.devid)
    }

    /// The three directory levels above the file, outermost first, each with a trailing slash (for MKCOL).
    pub fn directories(self) -> [String; 3] {
        let nfid = format!("{:010}", self.fid.0);
        let b = format!("/dev{}/{}/", self.devid, &nfid[0..1]);
        let mmm = format!("{b}{}/", &nfid[1..4]);
        let ttt = format!("{mmm}{}/", &nfid[4..7]);
        [b, mmm, ttt]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_short_fids_and_keeps_long_ones() {
        let path = |devid, fid| DevFid { devid: DevId(devid), fid: Fid(fid) }.path();
        assert_eq!(path(7, 1_234_567), "/dev7/0/001/234/0001234567.fid");
        assert_eq!(path(5, 1), "/dev5/0/000/000/0000000001.fid");
        assert_eq!(path(5, 52_048_709_162_819_278), "/dev5/5/204/870/52048709162819278.fid");
    }

    #[test]
    fn lists_directories_from_the_outside_in() {
        let directories = DevFid { devid: DevId(7), fid: Fid(1_234_567) }.directories();
        assert_eq!(directories, ["/dev7/0/", "/dev7/0/001/", "/dev7/0/001/234/"]);
    }
}
