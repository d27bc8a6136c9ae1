//! The default policy of the slot `rate-limit`: which token bucket a request draws on.
//!
//! The logic is plain Rust, compiled into the component and linked into the coordinator as the native default. It
//! counts nothing: the coordinator keeps the buckets.

#[cfg(target_arch = "wasm32")]
mod component;
#[cfg(test)]
mod tests;

/// Name of the policy, for operators.
pub const NAME: &str = "default-rate-limit";
/// Version of the policy.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What the policy does, in one sentence.
pub const SUMMARY: &str = "One bucket per address for the API and one for the token routes, one per connection for \
                           signaling messages; health, root, metrics and documentation are not limited.";

/// Most tokens a bucket holds.
pub const MAX_REQUESTS: u32 = 1_000_000;
/// Longest window, in seconds: one day.
pub const MAX_WINDOW: u32 = 86_400;

/// What is being limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// An HTTP request to an ordinary route.
    Api,
    /// An HTTP request to the token routes.
    Auth,
    /// Health, the root, metrics and the documentation.
    Exempt,
    /// One message on a signaling WebSocket.
    Websocket,
}

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One bucket per client address.
    Ip,
    /// One bucket per WebSocket connection.
    Connection,
}

/// One draw on one token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    pub scope: Scope,
    /// Tells buckets of the same scope and surface apart.
    pub bucket: u32,
    /// Tokens a full bucket holds.
    pub capacity: u32,
    /// Seconds in which an empty bucket fills up.
    pub window_seconds: u32,
    /// Tokens the request takes.
    pub cost: u32,
}

/// The answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Passes without a limit.
    Unlimited,
    /// Passes when the bucket has enough tokens.
    Limited(Draw),
}

/// So many requests in so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// 1 to [`MAX_REQUESTS`].
    pub requests: u32,
    /// In seconds, 1 to [`MAX_WINDOW`].
    pub window: u32,
}

/// The limits in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub api: Rate,
    pub auth: Rate,
    pub websocket: Rate,
}

impl Limits {
    /// What holds when the operator sets nothing.
    pub const DEFAULT: Self = Self {
        api: Rate {
            requests: 100,
            window: 60,
        },
        auth: Rate {
            requests: 10,
            window: 60,
        },
        websocket: Rate {
            requests: 1000,
            window: 60,
        },
    };

    /// Reads the operator's settings. Unknown names are ignored, what is not named keeps its default.
    ///
    /// # Errors
    ///
    /// Names the setting, its value and what would be right.
    pub fn from_settings<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut limits = Self::DEFAULT;
        for (name, value) in settings {
            let (number, most) = match name {
                "RATE_LIMIT_API_REQUESTS" => (&mut limits.api.requests, MAX_REQUESTS),
                "RATE_LIMIT_API_WINDOW" => (&mut limits.api.window, MAX_WINDOW),
                "RATE_LIMIT_AUTH_REQUESTS" => (&mut limits.auth.requests, MAX_REQUESTS),
                "RATE_LIMIT_AUTH_WINDOW" => (&mut limits.auth.window, MAX_WINDOW),
                "RATE_LIMIT_WS_REQUESTS" => (&mut limits.websocket.requests, MAX_REQUESTS),
                "RATE_LIMIT_WS_WINDOW" => (&mut limits.websocket.window, MAX_WINDOW),
                _ => continue,
            };
            *number = match value.trim().parse() {
                Ok(given) if (1..=most).contains(&given) => given,
                _ => {
                    return Err(format!(
                        "{name} is '{value}': a whole number from 1 to {most} is needed"
                    ));
                }
            };
        }
        Ok(limits)
    }

    /// Decides one request. Every request costs one token.
    #[must_use]
    pub const fn decide(&self, surface: Surface) -> Decision {
        let (scope, rate) = match surface {
            Surface::Api => (Scope::Ip, self.api),
            Surface::Auth => (Scope::Ip, self.auth),
            Surface::Websocket => (Scope::Connection, self.websocket),
            Surface::Exempt => return Decision::Unlimited,
        };
        Decision::Limited(Draw {
            scope,
            bucket: 0,
            capacity: rate.requests,
            window_seconds: rate.window,
            cost: 1,
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
