//! The web page for operators: the cluster at a glance, one device, one file, and, behind a token, some actions.
//!
//! Rendered here, complete, without outside resources; a small script refreshes it and nothing needs that. What needs the
//! database is asked of a query worker by the road of clients ([`crate::tracker::ask`]), and the answers are shared by all
//! viewers for some seconds ([`figures`]): pages that are left open do not multiply the load. Nothing here writes to a
//! table: actions are the commands of administrators ([`actions`]).

pub mod access;
pub mod actions;
pub mod bytes_text;
pub mod figures;
pub mod file_page;
pub mod glance;
pub mod html;
pub mod model;
pub mod reply;

use crate::cluster::ClusterView;
use crate::cluster::host::Host;
use crate::ids::DevId;
use crate::protocol::args::Args;
use crate::settings::Secret;
use crate::tracker::ask::Ask;
use crate::tracker::supervisor::Supervisor;
use access::{Access, Visitor};
use actions::Action;
use actix::Addr;
use bytes::Bytes;
use figures::Figures;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use maud::Markup;
use reply::Reply;
use slog::Logger;
use std::net::SocketAddr;

/// A form's body may be so long; the listener reads no more for us.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// What a page can be told in settings.
#[derive(Clone, Debug, Default)]
pub struct PageSettings {
    /// Whoever knows it may act; empty: nobody may.
    pub token: Secret,
    /// Names by which browsers may call this service, besides addresses and `localhost`.
    pub names: Vec<String>,
}

/// A request, read to its end.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub headers: &'a HeaderMap,
    pub peer: SocketAddr,
    pub body: &'a [u8],
}

impl PageRequest<'_> {
    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn query(&self) -> Args {
        Args::decode(self.uri.query().unwrap_or_default().as_bytes())
    }

    fn form(&self) -> Args {
        Args::decode(self.body)
    }
}

/// The whole page; one per listener, shared by its connections.
pub struct Page {
    view: ClusterView,
    supervisor: Addr<Supervisor>,
    figures: Figures,
    access: Access,
    min_free_space_mb: i64,
    log: Logger,
}

/// What leads to the answer of a request.
enum Outcome {
    Html(StatusCode, Markup),
    /// See there; perhaps with a cookie.
    SeeOther(String, Option<String>),
    Asset(&'static str, &'static str),
    Refused(StatusCode, String),
}

impl Page {
    pub fn new(
        supervisor: Addr<Supervisor>,
        view: ClusterView,
        settings: PageSettings,
        min_free_space_mb: i64,
        log: Logger,
    ) -> Self {
        let figures = Figures::new(supervisor.clone());
        Self { view, supervisor, figures, access: Access::new(settings), min_free_space_mb, log }
    }

    /// What all viewers share.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Is this path one of the page's?
    pub fn has(path: &str) -> bool {
        matches!(
            path,
            "/" | "/device" | "/file" | "/login" | "/logout" | "/action" | "/page.css" | "/page.js" | "/favicon.ico"
        )
    }

    /// Answers a request; whatever happens, with the headers that keep browsers careful.
    pub async fn answer(&self, request: PageRequest<'_>) -> Response<Bytes> {
        let mut outcome = self.outcome(request).await;
        if let Outcome::Refused(status, text) = &outcome {
            outcome = Outcome::Html(*status, html::message(status.canonical_reason().unwrap_or("Refused"), text));
        }
        let mut response = response(outcome);
        if *request.method == Method::HEAD {
            *response.body_mut() = Bytes::new();
        }
        response
    }

    async fn outcome(&self, request: PageRequest<'_>) -> Outcome {
        if !self.access.is_our_name(request.header(&header::HOST)) {
            let text = "This service is not called by that name. Names are allowed by the setting web.names.";
            return Outcome::Refused(StatusCode::MISDIRECTED_REQUEST, text.to_owned());
        }
        let path = request.uri.path();
        match *request.method {
            Method::GET | Method::HEAD => self.read(request, path).await,
            Method::POST => self.post(request, path).await,
            _ => Outcome::Refused(StatusCode::METHOD_NOT_ALLOWED, "Only GET, HEAD and POST are known here.".to_owned()),
        }
    }

    async fn read(&self, request: PageRequest<'_>, path: &str) -> Outcome {
        let visitor = self.access.visitor(request.header(&header::COOKIE));
        let query = request.query();
        match path {
            "/" => self.glance(visitor, &query).await,
            "/device" => self.device(visitor, &query),
            "/file" => self.file(request, visitor, &query).await,
            "/login" => Outcome::Html(StatusCode::OK, html::login(visitor, None)),
            "/page.css" => Outcome::Asset("text/css; charset=utf-8", html::STYLE),
            "/page.js" => Outcome::Asset("text/javascript; charset=utf-8", html::SCRIPT),
            "/favicon.ico" => Outcome::Asset("image/svg+xml", html::ICON),
            _ => not_found(),
        }
    }

    async fn glance(&self, visitor: Visitor, query: &Args) -> Outcome {
        let figures = self.figures.latest().await;
        let cluster = self.view.load_full();
        let glance = model::glance(&cluster, &figures, self.min_free_space_mb);
        let said = query.get("said").and_then(|said| Action::said(said));
        Outcome::Html(StatusCode::OK, glance::page(&glance, visitor, said))
    }

    fn device(&self, visitor: Visitor, query: &Args) -> Outcome {
        let cluster = self.view.load_full();
        let Some(view) = cluster.device(DevId(query.int("id"))) else {
            return Outcome::Refused(StatusCode::NOT_FOUND, "There is no such device.".to_owned());
        };
        let device = model::device(view, &cluster, self.min_free_space_mb);
        let said = query.get("said").and_then(|said| Action::said(said));
        Outcome::Html(StatusCode::OK, glance::device_page(&device, view.host, visitor, said))
    }

    async fn file(&self, request: PageRequest<'_>, visitor: Visitor, query: &Args) -> Outcome {
        let cluster = self.view.load_full();
        let mut domains: Vec<_> = cluster.domains.values().map(|domain| domain.name.clone()).collect();
        domains.sort();
        let search = file_page::Search::of(query);
        let found = match search.subject() {
            Some(subject) => {
                Some(file_page::look(&subject, &search, async |line| self.ask(line, request.peer).await).await)
            }
            None => None,
        };
        let status = match &found {
            Some(Err(refused)) => refused.status(),
            _ => StatusCode::OK,
        };
        Outcome::Html(status, file_page::page(&search, &domains, found.as_ref(), visitor))
    }

    async fn post(&self, request: PageRequest<'_>, path: &str) -> Outcome {
        if !self.access.comes_from_here(request.header(&header::ORIGIN), request.header(&header::HOST)) {
            let text = "The request does not come from this page (its Origin is missing or another one).";
            return Outcome::Refused(StatusCode::FORBIDDEN, text.to_owned());
        }
        match path {
            "/login" => self.login(request),
            "/logout" => {
                self.access.log_out(request.header(&header::COOKIE));
                Outcome::SeeOther("/".to_owned(), Some(access::no_cookie()))
            }
            "/action" => self.act(request).await,
            _ => not_found(),
        }
    }

    fn login(&self, request: PageRequest<'_>) -> Outcome {
        let given = request.form();
        let token = given.get("token").unwrap_or_default();
        match self.access.log_in(token, request.peer.ip()) {
            Ok(cookie) => {
                slog::info!(self.log, "web page: somebody has logged in"; "peer" => %request.peer);
                Outcome::SeeOther("/".to_owned(), Some(cookie))
            }
            Err(refusal) => {
                slog::warn!(self.log, "web page: login refused"; "peer" => %request.peer, "reason" => refusal.text());
                let visitor = self.access.visitor(None);
                Outcome::Html(refusal.status(), html::login(visitor, Some(refusal.text())))
            }
        }
    }

    async fn act(&self, request: PageRequest<'_>) -> Outcome {
        if self.access.visitor(request.header(&header::COOKIE)) != Visitor::May {
            let text = "Actions need a login with the token of the setting web.token.";
            return Outcome::Refused(StatusCode::FORBIDDEN, text.to_owned());
        }
        let form = request.form();
        let Some(action) = Action::of(&form) else {
            return Outcome::Refused(StatusCode::BAD_REQUEST, "No such action.".to_owned());
        };
        let line = match &action {
            Action::SetState { devid, state } => {
                let cluster = self.view.load_full();
                let Some(Host { name, .. }) = cluster.device(*devid).map(|view| view.host) else {
                    return Outcome::Refused(StatusCode::NOT_FOUND, "There is no such device.".to_owned());
                };
                if action.wants_confirmation() && !form.flag("confirm") {
                    return Outcome::Html(StatusCode::OK, html::confirm_dead(*devid, name));
                }
                actions::set_state_line(name, *devid, *state)
            }
            other => other.line(),
        };
        let reply = self.ask(line.clone(), request.peer).await;
        match reply {
            Ok(_) => {
                slog::info!(self.log, "web page: done"; "action" => %String::from_utf8_lossy(&line), "peer" => %request.peer);
                self.figures.forget().await;
                Outcome::SeeOther(action.see_then(), None)
            }
            Err(refused) => {
                slog::info!(self.log, "web page: refused"; "action" => %String::from_utf8_lossy(&line),
                    "peer" => %request.peer, "code" => &refused.code);
                Outcome::Refused(StatusCode::CONFLICT, format!("The tracker refused: {}", refused.sentence()))
            }
        }
    }

    async fn ask(&self, line: Vec<u8>, peer: SocketAddr) -> Result<Args, reply::Refused> {
        let bytes = self.supervisor.send(Ask { line, peer }).await.unwrap_or_default();
        Reply::parse(&bytes)
    }
}

fn not_found() -> Outcome {
    Outcome::Refused(StatusCode::NOT_FOUND, "There is nothing here.".to_owned())
}

/// Own files only, no frames, forms to ourselves.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const CAREFUL: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    // Not no-referrer: forms would come with the origin "null" then.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

fn response(outcome: Outcome) -> Response<Bytes> {
    let (status, kind, body) = match &outcome {
        Outcome::Html(status, markup) => (*status, "text/html; charset=utf-8", Bytes::from(markup.0.clone())),
        Outcome::Asset(kind, text) => (StatusCode::OK, *kind, Bytes::from_static(text.as_bytes())),
        Outcome::SeeOther(..) => (StatusCode::SEE_OTHER, "text/plain; charset=utf-8", Bytes::new()),
        Outcome::Refused(status, text) => (*status, "text/plain; charset=utf-8", Bytes::from(text.clone())),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in CAREFUL {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Outcome::SeeOther(place, cookie) = outcome {
        // Both are of our own making, and plain.
        if let Ok(place) = HeaderValue::from_str(&place) {
            headers.insert(header::LOCATION, place);
        }
        if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
            headers.insert(header::SET_COOKIE, cookie);
        }
    }
    response
}
