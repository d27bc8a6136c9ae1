//! Where live state is shared between nodes.

use secrecy::SecretString;

use super::reader::Reader;

/// `REDIS_URL`, `REDIS_MAX_CONNECTIONS`.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// None: live state in memory, one node.
    pub url: Option<SecretString>,
    pub max_connections: u32,
}

impl RedisConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let given = reader.given("REDIS_URL");
        if given.is_some_and(|url| !["redis", "rediss"].iter().any(|scheme| has_scheme(url, scheme))) {
            reader.refuse("REDIS_URL", "must be redis://host:6379/0 or rediss://host:6379/0");
        }
        Self {
            url: given.map(SecretString::from),
            max_connections: reader.number("REDIS_MAX_CONNECTIONS", 1..=10_000),
        }
    }
}

fn has_scheme(url: &str, scheme: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| url.scheme() == scheme && url.has_host())
}
