//! The whole HTTP service, as a connection calls it: every path gets its one spelling before it is routed, and what a web page
//! of another origin asks passes CORS. Knows no route.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::http::header::ORIGIN;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use futures_util::future::Either;
use tower::{Layer as _, Service};
use tower_http::cors::{Cors, ResponseFuture};

use super::middleware::cors;
use super::middleware::path::respell;
use super::state::HttpState;
use super::trust::Pages;

/// The service. Always ready, and cheap to clone.
#[derive(Clone)]
pub struct Api {
    routes: Router,
    pages: Arc<ForPages>,
}

/// The same routes for web pages, with what each kind of setting adds.
struct ForPages {
    state: Arc<HttpState>,
    any: Cors<Router>,
    listed: Cors<Router>,
}

impl Api {
    pub(super) fn new(routes: Router, state: Arc<HttpState>) -> Self {
        let pages = ForPages {
            any: cors::any().layer(routes.clone()),
            listed: cors::listed(state.clone()).layer(routes.clone()),
            state,
        };
        Self {
            routes,
            pages: Arc::new(pages),
        }
    }
}

impl Service<Request> for Api {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<RouteFuture<Infallible>, ResponseFuture<RouteFuture<Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        respell(&mut request);
        if !is_of_a_page(&request) {
            return Either::Left(self.routes.call(request));
        }
        match &**self.pages.state.trust.pages() {
            Pages::None => Either::Left(self.routes.call(request)),
            Pages::Any => Either::Right(self.pages.any.clone().call(request)),
            Pages::Listed(_) => Either::Right(self.pages.listed.clone().call(request)),
        }
    }
}

/// Games and servers name no origin; browsers do wherever it matters (<https://fetch.spec.whatwg.org/#origin-header>).
fn is_of_a_page(request: &Request) -> bool {
    request.headers().contains_key(ORIGIN) || request.method() == Method::OPTIONS
}
