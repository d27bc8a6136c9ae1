//! Names of keys and channels. All of them are made here, so that in a cluster each one carries the same hash tag: our data
//! then is in one slot, and a script may use several keys.

/// Makes names. Cheap to clone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    prefix: &'static str,
}

/// Puts everything in one slot of a cluster.
const HASH_TAG: &str = "{p2p}:";

impl Keys {
    /// Names for a cluster, or for a single server.
    #[must_use]
    pub const fn new(cluster: bool) -> Self {
        Self {
            prefix: if cluster { HASH_TAG } else { "" },
        }
    }

    /// A name of several parts, for example `signaling:peer:<peer_id>`.
    #[must_use]
    pub fn name(self, parts: &[&str]) -> String {
        format!("{}{}", self.prefix, parts.join(":"))
    }

    /// Names that nobody else makes.
    #[cfg(test)]
    pub(super) fn apart(self) -> Self {
        let prefix = format!("{}test-{:016x}:", self.prefix, getrandom::u64().unwrap());
        Self {
            prefix: Box::leak(prefix.into_boxed_str()),
        }
    }

    /// What goes before each name. A script that makes names itself starts with it.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        self.prefix
    }

    /// The token bucket of a client.
    #[must_use]
    pub fn rate_limit(self, bucket: &str) -> String {
        self.name(&["ratelimit", bucket])
    }

    /// Who holds a lease.
    #[must_use]
    pub fn lease(self, name: &str) -> String {
        self.name(&["lease", name])
    }

    /// The number of holders of a lease so far.
    #[must_use]
    pub fn fence(self, name: &str) -> String {
        self.name(&["lease-fence", name])
    }

    /// The channel on which nodes tell each other about hosts.
    #[must_use]
    pub fn hosts(self) -> String {
        self.name(&["hosts"])
    }

    /// The channel on which nodes wake each other up.
    #[must_use]
    pub fn wakeups(self, topic: &str) -> String {
        self.name(&["wakeups", topic])
    }

    /// Tells one life of the server's data from the next.
    #[must_use]
    pub fn epoch(self) -> String {
        self.name(&["live", "epoch"])
    }

    /// A channel that nobody listens to.
    #[must_use]
    pub fn probe(self) -> String {
        self.name(&["live", "probe"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_guide_and_share_a_slot_in_a_cluster() {
        assert_eq!(Keys::new(false).name(&["signaling", "peer", "p1"]), "signaling:peer:p1");
        assert_eq!(Keys::new(true).lease("task:cleanup"), "{p2p}:lease:task:cleanup");
    }
}
