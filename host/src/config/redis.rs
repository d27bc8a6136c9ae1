//! Where live state is shared between nodes: the forms of `REDIS_URL`, taken apart and checked. Opens no connection.

use std::path::PathBuf;

use secrecy::SecretString;

use super::reader::Reader;

/// `REDIS_URL`, `REDIS_MAX_CONNECTIONS`.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// None: live state in memory, one node.
    pub url: Option<RedisUrl>,
    /// Most connections of this node to Redis.
    pub max_connections: u32,
}

/// How Redis is reached.
#[derive(Clone, Debug)]
pub struct RedisUrl {
    pub layout: RedisLayout,
    /// The server, the sentinels, or some nodes of the cluster: host and port. Never empty.
    pub servers: Vec<(String, u16)>,
    pub tls: bool,
    /// PEM file of the authorities that sign the servers' certificates; none: the well-known ones.
    pub ca: Option<PathBuf>,
    pub user: Option<String>,
    pub password: Option<SecretString>,
    /// For the sentinels, where they ask for one.
    pub sentinel_password: Option<SecretString>,
    pub database: i64,
}

/// What stands at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisLayout {
    /// One server.
    Single,
    /// Sentinels know the master of this name.
    Sentinel { master: String },
    /// A cluster; all of our keys are in one slot.
    Cluster,
}

const SINGLE: &str = "redis://[user:password@]host:6379/0";
const SENTINEL: &str = "redis+sentinel://[user:password@]host:26379,host:26379/master_name/0";
const CLUSTER: &str = "redis+cluster://[user:password@]host:6379,host:6379";

impl RedisConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let url = reader.given("REDIS_URL").and_then(|text| match RedisUrl::parse(text) {
            Ok(url) => Some(url),
            Err(message) => {
                reader.refuse("REDIS_URL", message);
                None
            }
        });
        Self {
            url,
            max_connections: reader.number("REDIS_MAX_CONNECTIONS", 1..=10_000),
        }
    }
}

impl RedisUrl {
    /// Takes a URL apart.
    ///
    /// # Errors
    ///
    /// What would be right; never a part of the URL that may be secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let forms = || format!("must be {SINGLE}, {SENTINEL} or {CLUSTER}; rediss for TLS");
        let (scheme, rest) = text.split_once("://").ok_or_else(forms)?;
        let scheme = scheme.to_ascii_lowercase();
        let (base, kind) = scheme.split_once('+').unwrap_or((&scheme, ""));
        let tls = match base {
            "redis" => false,
            "rediss" => true,
            _ => return Err(forms()),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let mut path = path.trim_end_matches('/').split('/');
        let (layout, port, form) = match kind {
            "" => (RedisLayout::Single, 6379, SINGLE),
            "cluster" => (RedisLayout::Cluster, 6379, CLUSTER),
            "sentinel" => {
                let master = path.next().filter(|name| !name.is_empty());
                let master = master.ok_or_else(|| format!("names no master; must be {SENTINEL}"))?;
                let master = master.to_owned();
                (RedisLayout::Sentinel { master }, 26379, SENTINEL)
            }
            _ => return Err(forms()),
        };
        let servers: Vec<_> = hosts
            .split(',')
            .map(|host| server(host, port).ok_or_else(|| format!("names a host that cannot be read; must be {form}")))
            .collect::<Result<_, _>>()?;
        if layout == RedisLayout::Single && servers.len() > 1 {
            return Err(format!("names several hosts; must be {SENTINEL} or {CLUSTER}"));
        }
        let database = match path.next().unwrap_or_default() {
            "" => 0,
            number => number
                .parse()
                .ok()
                .filter(|number| (0..=65_535).contains(number))
                .ok_or_else(|| format!("must end with the number of a database; must be {form}"))?,
        };
        if path.next().is_some() {
            return Err(format!("has a path too long; must be {form}"));
        }
        if layout == RedisLayout::Cluster && database != 0 {
            return Err("names a database, and a cluster has number 0 alone; leave it out".to_owned());
        }
        let mut url = Self {
            layout,
            servers,
            tls,
            ca: None,
            user: None,
            password: None,
            sentinel_password: None,
            database,
        };
        url.read_login(login)?;
        url.read_options(query)?;
        Ok(url)
    }

    fn read_login(&mut self, login: Option<&str>) -> Result<(), String> {
        let Some(login) = login else { return Ok(()) };
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let wrong = || "has a user or password that cannot be read: write special characters as %XX".to_owned();
        self.user = Some(decoded(user).ok_or_else(wrong)?).filter(|user| !user.is_empty());
        let password = Some(decoded(password).ok_or_else(wrong)?).filter(|password| !password.is_empty());
        self.password = password.map(SecretString::from);
        Ok(())
    }

    fn read_options(&mut self, query: &str) -> Result<(), String> {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value).filter(|value| !value.is_empty());
            match (name, value) {
                ("ca", Some(path)) if self.tls => {
                    let path = PathBuf::from(path);
                    if !path.is_file() {
                        return Err("names a file behind ?ca= that is not there".to_owned());
                    }
                    self.ca = Some(path);
                }
                ("ca", Some(_)) => {
                    return Err("names a file behind ?ca= without TLS; must start with rediss".to_owned());
                }
                ("sentinel_password", Some(password)) if matches!(self.layout, RedisLayout::Sentinel { .. }) => {
                    self.sentinel_password = Some(SecretString::from(password));
                }
                _ => {
                    return Err(
                        "has an option that is not known; known are ca=/path/of/ca.pem with rediss, \
                                and sentinel_password with sentinels"
                            .to_owned(),
                    );
                }
            }
        }
        Ok(())
    }
}

/// The place without what may be secret, for logs and errors.
impl std::fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let kind = match self.layout {
            RedisLayout::Single => "",
            RedisLayout::Sentinel { .. } => "+sentinel",
            RedisLayout::Cluster => "+cluster",
        };
        let hosts: Vec<_> = self
            .servers
            .iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect();
        write!(f, "{scheme}{kind}://{}", hosts.join(","))?;
        if let RedisLayout::Sentinel { master } = &self.layout {
            write!(f, "/{master}")?;
        }
        write!(f, "/{}", self.database)
    }
}

/// A host with an optional port. IPv6 addresses stand in brackets, and lose them here.
fn server(text: &str, default_port: u16) -> Option<(String, u16)> {
    // A scheme without a default port, so that the port is told when it is written.
    let url = reqwest::Url::parse(&format!("redis://{text}")).ok()?;
    let plain = url.username().is_empty() && url.password().is_none() && matches!(url.path(), "" | "/");
    let host = url.host_str().filter(|host| plain && !host.is_empty())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), url.port().unwrap_or(default_port)))
}

fn decoded(text: &str) -> Option<String> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn parsed(text: &str) -> RedisUrl {
        RedisUrl::parse(text).unwrap_or_else(|message| panic!("{text}: {message}"))
    }

    #[test]
    fn every_form_is_read() {
        let single = parsed("redis://localhost:6380/3");
        assert_eq!(single.servers, [("localhost".to_owned(), 6380)]);
        assert_eq!(
            (single.layout, single.database, single.tls),
            (RedisLayout::Single, 3, false)
        );
        assert_eq!(parsed("rediss://[::1]").servers, [("::1".to_owned(), 6379)]);
        assert!(parsed("REDISS://h").tls);
        let sentinel = parsed("rediss+sentinel://u:p@a:1,b/mymaster/2?sentinel_password=s%26t");
        assert_eq!(sentinel.servers, [("a".to_owned(), 1), ("b".to_owned(), 26379)]);
        let master = "mymaster".to_owned();
        assert_eq!(
            (sentinel.layout, sentinel.database),
            (RedisLayout::Sentinel { master }, 2)
        );
        assert_eq!(sentinel.sentinel_password.unwrap().expose_secret(), "s&t");
        let cluster = parsed("redis+cluster://a:1,b:2");
        assert_eq!((cluster.layout, cluster.servers.len()), (RedisLayout::Cluster, 2));
    }

    #[test]
    fn logins_are_decoded_and_never_shown() {
        let url = parsed("redis://us%40er:p%2Fw:x@h/1");
        assert_eq!(url.user.as_deref(), Some("us@er"));
        assert_eq!(url.password.as_ref().unwrap().expose_secret(), "p/w:x");
        assert_eq!(url.to_string(), "redis://h:6379/1");
        assert!(!format!("{url:?}").contains("p/w"));
        let only_password = parsed("redis://:secret@h");
        assert!(only_password.user.is_none() && only_password.password.is_some());
    }

    #[test]
    fn anything_else_is_refused_without_its_secrets() {
        for (text, part) in [
            ("localhost:6379", "must be redis://"),
            ("http://:hush@h", "must be redis://"),
            ("redis+pool://:hush@h", "must be redis://"),
            ("redis://:hush@", "host that cannot be read"),
            ("redis://:hush@h:99999", "host that cannot be read"),
            ("redis://a,b", "several hosts"),
            ("redis://h/hush", "number of a database"),
            ("redis://h/0/1", "path too long"),
            ("redis+sentinel://:hush@h", "names no master"),
            ("redis+cluster://h/1", "number 0 alone"),
            ("redis://h?ca=/x.pem", "without TLS"),
            ("rediss://h?ca=/no/such/file.pem", "not there"),
            ("redis://h?password=hush", "not known"),
        ] {
            let message = RedisUrl::parse(text).unwrap_err();
            assert!(message.contains(part) && !message.contains("hush"), "{text}: {message}");
        }
    }
}
