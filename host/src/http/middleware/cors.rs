//! Which web pages may call, from `CORS_ORIGINS` as it holds when a request comes.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Method, Response};
use tower::util::Oneshot;
use tower::{Service, ServiceExt as _};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::http::state::HttpState;
use crate::http::trust::Pages;

/// The same routes thrice, with what each kind of setting adds. Which pages are listed is looked up with each request, and whether
/// credentials count, which they never do for any page whatever, is fixed for each.
#[derive(Clone)]
pub struct ByPages(Arc<Kinds>);

struct Kinds {
    state: Arc<HttpState>,
    none: Router,
    any: Router,
    listed: Router,
}

impl ByPages {
    /// Over all routes.
    #[must_use]
    pub fn new(routes: Router, state: Arc<HttpState>) -> Self {
        let asked = state.clone();
        let listed = AllowOrigin::predicate(move |origin, _| match &**asked.trust.pages() {
            Pages::Listed(origins) => origins.contains(origin),
            Pages::None | Pages::Any => false,
        });
        Self(Arc::new(Kinds {
            any: routes.clone().layer(layer(AllowOrigin::any())),
            listed: routes.clone().layer(layer(listed).allow_credentials(true)),
            none: routes,
            state,
        }))
    }
}

impl Service<Request> for ByPages {
    type Response = Response<axum::body::Body>;
    type Error = Infallible;
    type Future = Oneshot<Router, Request>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let routes = match &**self.0.state.trust.pages() {
            Pages::None => &self.0.none,
            Pages::Any => &self.0.any,
            Pages::Listed(_) => &self.0.listed,
        };
        routes.clone().oneshot(request)
    }
}

fn layer(origin: AllowOrigin) -> CorsLayer {
    let exposed = [
        HeaderName::from_static("x-ratelimit-limit"),
        HeaderName::from_static("x-ratelimit-remaining"),
        HeaderName::from_static("x-ratelimit-reset"),
        HeaderName::from_static("x-total-count"),
        HeaderName::from_static("x-request-id"),
        RETRY_AFTER,
        WWW_AUTHENTICATE,
    ];
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, HeaderName::from_static("x-api-key")])
        .expose_headers(exposed)
        .max_age(Duration::from_secs(600))
}
