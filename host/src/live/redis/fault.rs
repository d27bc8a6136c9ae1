//! Why a connection to Redis could not be opened, in one line for the operator: the cause, and what to do about it.

use redis::{ErrorKind, RedisError, ServerErrorKind};

const OR_ALONE: &str = "or leave it out to run one node with live state in memory";

/// The cause and the mend. The text of a server is cut to its first line, so that one failure is one line.
pub(super) fn explain(error: &anyhow::Error) -> String {
    let Some(root) = error.chain().find_map(|cause| cause.downcast_ref::<RedisError>()) else {
        return format!(
            "{}; start Redis there, correct REDIS_URL, {OR_ALONE}",
            line(&format!("{error:#}"))
        );
    };
    let said = root.to_string();
    // The places that were asked are the contexts in front of the error itself.
    let places: Vec<String> = error
        .chain()
        .take_while(|cause| !cause.is::<RedisError>())
        .map(ToString::to_string)
        .collect();
    let place = places.iter().map(|place| format!("{place}: ")).collect::<String>();
    format!("{place}{}; {}", line(&said), advice(root, &said))
}

fn advice(error: &RedisError, said: &str) -> String {
    let secret = said.contains("NOAUTH") || said.contains("WRONGPASS") || said.contains("without any password");
    match error.kind() {
        _ if secret => wrong_password(),
        ErrorKind::AuthenticationFailed => wrong_password(),
        ErrorKind::Server(ServerErrorKind::ReadOnly) => "name the master in REDIS_URL, not a replica".to_owned(),
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            "let the user use its commands, keys and channels: ACL SETUSER … ~* &* +@all".to_owned()
        }
        ErrorKind::Server(ServerErrorKind::BusyLoading) => "wait until Redis has read its data, then start again".to_owned(),
        ErrorKind::Parse | ErrorKind::RESP3NotSupported => {
            "what answers is no Redis 7 server without TLS; correct host and port in REDIS_URL, or write rediss:// for TLS".to_owned()
        }
        _ if said.contains("lookup address") => format!("correct the host name in REDIS_URL, {OR_ALONE}"),
        _ if said.contains("certificate") => {
            "name the authority of the server's certificate behind ?ca= in REDIS_URL".to_owned()
        }
        _ => format!("start Redis there, correct REDIS_URL, {OR_ALONE}"),
    }
}

fn wrong_password() -> String {
    "correct user and password in REDIS_URL: redis://user:password@host:6379/0, special characters as %XX".to_owned()
}

/// The first line, not too long.
fn line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context as _;

    use super::*;

    fn told(error: impl Into<RedisError>) -> String {
        let failed: Result<(), RedisError> = Err(error.into());
        explain(&failed.context("h:6379").unwrap_err())
    }

    #[test]
    fn a_failure_is_one_line_with_a_mend() {
        let refused = told(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert!(
            refused.starts_with("h:6379: ") && refused.contains("start Redis there"),
            "{refused}"
        );
        let parse = told((ErrorKind::Parse, "Parse error at 1\nUnexpected `84`"));
        assert!(parse.contains("no Redis 7 server") && !parse.contains('\n'), "{parse}");
        let password = told((ErrorKind::AuthenticationFailed, "WRONGPASS invalid"));
        assert!(password.contains("password in REDIS_URL"), "{password}");
        let other = explain(&anyhow::anyhow!("no answer within 3 s"));
        assert!(other.contains("start Redis there"), "{other}");
    }
}
