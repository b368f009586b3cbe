//! A file that is checked: its rows, what the cluster says of its devices and class, and its policy.

use crate::cluster::ClusterSnapshot;
use crate::cluster::checksum::{Checksum, HashType};
use crate::cluster::domain::Class;
use crate::ids::DevId;
use crate::jobs::context::JobContext;
use crate::jobs::fsck::checksum_verdict::Recorded;
use crate::jobs::replicate;
use crate::policy::{Question, ReplicationPolicy, Verdict};
use crate::store::files::FileRow;
use crate::store::fsck_batch::{RecordedFile, Repair};

/// The file, as the database and the cluster were when it was made.
pub(super) struct Subject<'a> {
    pub recorded: &'a RecordedFile,
    pub cluster: &'a ClusterSnapshot,
    pub class: &'a Class,
    policy: ReplicationPolicy,
    /// Its locations on devices that are known. Rows of unknown devices are left alone (W19).
    pub known: Vec<DevId>,
    stored_checksum: Option<Checksum>,
}

impl<'a> Subject<'a> {
    /// # Errors
    /// Why the file cannot be judged: its class or policy is unknown (W20).
    pub fn new(cluster: &'a ClusterSnapshot, recorded: &'a RecordedFile) -> Result<Self, String> {
        let (class, policy) = replicate::class_and_policy(cluster, &recorded.file)?;
        let mut known: Vec<DevId> =
            recorded.devids.iter().copied().filter(|&devid| cluster.device(devid).is_some()).collect();
        known.sort_unstable();
        let stored_checksum = recorded.checksum.as_ref().and_then(|(number, digest)| {
            Some(Checksum { hashtype: HashType::from_number(*number)?, digest: digest.clone() })
        });
        Ok(Self { recorded, cluster, class, policy, known, stored_checksum })
    }

    pub fn file(&self) -> &FileRow {
        &self.recorded.file
    }

    pub fn is_dead(&self, devid: DevId) -> bool {
        self.cluster.device(devid).is_some_and(|device| device.device.is_dead())
    }

    /// Is one of its devices dead?
    pub fn has_dead(&self) -> bool {
        self.known.iter().any(|&devid| self.is_dead(devid))
    }

    /// What the table of checksums has of it.
    pub fn stored_checksum(&self) -> Recorded<'_> {
        match (&self.stored_checksum, &self.recorded.checksum) {
            (Some(checksum), _) => Recorded::Known(checksum),
            (None, Some(_)) => Recorded::UnknownAlgorithm,
            (None, None) => Recorded::None,
        }
    }

    /// Does the recorded number of copies differ from the number of rows?
    pub fn has_wrong_devcount(&self) -> bool {
        self.recorded.has_wrong_devcount()
    }

    /// Will the recorded number of copies, as it is, be right after a repair?
    pub fn will_have_right_devcount(&self, repair: &Repair) -> bool {
        let rows = self.recorded.devids.len() + usize::from(repair.add.is_some()) - repair.drop.len();
        i64::try_from(rows) == Ok(self.file().devcount)
    }

    /// Is the policy content with copies there, neither fewer nor more? Dead devices have none (W23).
    pub fn is_content_with(&self, ctx: &JobContext, devids: &[DevId]) -> bool {
        let alive: Vec<DevId> = devids.iter().copied().filter(|&devid| !self.is_dead(devid)).collect();
        self.is_content_with_told(ctx, &alive)
    }

    /// Was the policy content while all of its devices were alive?
    pub fn was_content(&self, ctx: &JobContext) -> bool {
        self.is_content_with_told(ctx, &self.known)
    }

    fn is_content_with_told(&self, ctx: &JobContext, told: &[DevId]) -> bool {
        let question = Question {
            told,
            world: self.cluster,
            failed: &[],
            mindevcount: self.class.mindevcount,
            min_free_space_mb: ctx.min_free_space_mb(),
        };
        self.policy.ask(&question, &mut ctx.chance.borrow_mut()) == Verdict::AllGood
    }
}
