//! Which hosts and origins are allowed.

use super::*;

fn hosts(address: &str, listen: &str, allowed: &[&str]) -> AllowedHosts {
    let allowed: Vec<HostName> = allowed.iter().map(|name| name.parse().unwrap()).collect();
    AllowedHosts::listening_on(address.parse().unwrap(), listen, &allowed)
}

fn allow(hosts: &AllowedHosts, host: &str) -> Option<bool> {
    Authority::parse(host).map(|authority| hosts.allow(authority.host))
}

#[test]
fn on_loopback_only_loopback_the_listen_address_and_allowed_hosts_are_accepted() {
    let hosts = hosts("127.0.0.1:80", "kv:80", &["docs.example", "2001:db8::1"]);
    for host in [
        "localhost",
        "LocalHost:1",
        "localhost.",
        "a.localhost:80",
        "127.0.0.1",
        "127.9.9.9:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]",
        "kv",
        "KV.:8080",
        "docs.example",
        "Docs.Example.:99",
        "[2001:db8:0::1]",
    ] {
        assert_eq!(allow(&hosts, host), Some(true), "{host}");
    }
    for host in [
        "",
        ":80",
        "evil.example",
        "localhost.evil.example",
        "notlocalhost",
        "docs.example.evil",
        "a.docs.example",
        "127.0.0.1.evil.example",
        "127.1",
        "2130706433",
        "0.0.0.0",
        "10.0.0.1",
        "[::]",
        "%6cocalhost",
        "x_y",
    ] {
        assert_eq!(allow(&hosts, host), Some(false), "{host}");
    }
}

#[test]
fn only_a_copy_of_a_short_host_is_kept() {
    let mut check = OriginCheck::new(
        hosts("127.0.0.1:80", "127.0.0.1:80", &[]),
        AllowedOrigins::default(),
    );
    let long = format!("{}.localhost", "a".repeat(KEPT_HOST_MAX_BYTES));
    for (host, is_kept) in [("localhost:80", true), (&long, false)] {
        let request = Request::builder().header(header::HOST, host).body(());
        let request = request.unwrap();
        check.last_host = None;
        assert!(check.check(&request).is_ok());
        let line = &request.headers()[header::HOST];
        let kept = check.last_host.as_ref();
        assert_eq!(kept.is_some(), is_kept);
        assert!(kept.is_none_or(|kept| kept.as_bytes().as_ptr() != line.as_bytes().as_ptr()));
    }
}

#[test]
fn http_2_names_its_host_in_the_target_and_host_must_agree() {
    let mut check = OriginCheck::new(
        hosts("127.0.0.1:80", "127.0.0.1:80", &[]),
        AllowedOrigins::default(),
    );
    for (target, host, is_allowed) in [
        ("http://localhost:80/kv", None, true),
        ("http://localhost:80/kv", Some("LOCALHOST:80"), true),
        ("http://localhost:80/kv", Some("localhost"), false),
        ("http://localhost:80/kv", Some("evil.example:80"), false),
        ("http://evil.example/kv", None, false),
        ("http://evil.example/kv", Some("localhost"), false),
        ("/kv", Some("localhost"), true),
        ("/kv", None, false),
    ] {
        let mut request = Request::builder().version(Version::HTTP_2).uri(target);
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        let checked = check.check(&request.body(()).unwrap());
        assert_eq!(checked.is_ok(), is_allowed, "{target} {host:?}");
    }
}

#[test]
fn beyond_loopback_every_host_is_allowed_unless_some_are_named() {
    let any = hosts("0.0.0.0:80", "0.0.0.0:80", &[]);
    let named = hosts("10.0.0.1:80", "10.0.0.1:80", &["kv.example"]);
    for (host, is_named) in [
        ("evil.example", false),
        ("10.0.0.2", false),
        ("kv.example:1", true),
        ("10.0.0.1", true),
        ("localhost", true),
    ] {
        assert_eq!(allow(&any, host), Some(true), "{host}");
        assert_eq!(allow(&named, host), Some(is_named), "{host}");
    }
}

#[test]
fn a_host_that_no_url_may_have_is_invalid() {
    for host in [
        "a b",
        "a/b",
        "a@b",
        "a:b",
        "a:1:2",
        "a:65536",
        "a:+1",
        "::1",
        "[::1",
        "[::1]80",
        "[a]",
        "[127.0.0.1]",
        "a%",
        "a%2",
        "a%zz",
        "a\"b",
        "a<b",
        "\u{e4}",
        "http://a",
    ] {
        assert_eq!(Authority::parse(host), None, "{host}");
    }
}

#[test]
fn an_allowed_host_is_a_name_or_an_address_alone() {
    for name in ["kv.example", "10.0.0.1", "::1", "[::1]", "a_b"] {
        assert!(name.parse::<HostName>().is_ok(), "{name}");
    }
    for bad in [
        "",
        "kv:80",
        "kv:",
        "http://kv",
        "kv/",
        "[::1]:80",
        "a b",
        "kv,other",
    ] {
        // A comma separates two hosts; the flag is split before this is parsed.
        assert_eq!(bad.parse::<HostName>().is_ok(), bad == "kv,other", "{bad}");
    }
}

#[test]
fn an_origin_is_compared_with_its_port() {
    for (origin, host, same) in [
        ("http://localhost:8080", "localhost:8080", true),
        ("http://LOCALHOST:8080", "localhost:8080", true),
        ("http://localhost", "localhost:80", true),
        ("https://kv.example", "kv.example", true),
        ("https://kv.example", "kv.example:443", true),
        ("http://[::1]:8080", "[::1]:8080", true),
        ("http://localhost:3000", "localhost:8080", false),
        ("http://localhost", "localhost:8080", false),
        ("http://localhost:8080", "127.0.0.1:8080", false),
        ("https://kv.example", "kv.example:80", false),
        ("http://evil.example:8080", "localhost:8080", false),
        ("null", "localhost:8080", false),
        ("", "localhost:8080", false),
        ("file://localhost:8080", "localhost:8080", false),
        ("http://localhost:8080/", "localhost:8080", false),
        ("http://a@localhost:8080", "localhost:8080", false),
    ] {
        let host = Authority::parse(host);
        let origin_line = HeaderValue::from_static(origin);
        assert_eq!(is_origin_of(&origin_line, host), same, "{origin} {host:?}");
    }
}
