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
use tower_http::cors::{Cors, CorsLayer, ResponseFuture};

use super::middleware::path::respell;

/// The service. Always ready, and cheap to clone.
#[derive(Clone)]
pub struct Api {
    routes: Router,
    cors: Option<Arc<Cors<Router>>>,
}

impl Api {
    pub(super) fn new(routes: Router, cors: Option<CorsLayer>) -> Self {
        let cors = cors.map(|layer| Arc::new(layer.layer(routes.clone())));
        Self { routes, cors }
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
        match &self.cors {
            Some(cors) if is_of_a_page(&request) => Either::Right(Cors::clone(cors).call(request)),
            _ => Either::Left(self.routes.call(request)),
        }
    }
}

/// Games and servers name no origin; browsers do wherever it matters (<https://fetch.spec.whatwg.org/#origin-header>).
fn is_of_a_page(request: &Request) -> bool {
    request.headers().contains_key(ORIGIN) || request.method() == Method::OPTIONS
}
