//! How the Kubernetes API is reached, and how long it is waited for.

use http::Uri;
use kube::Config;
use std::{env, time::Duration};
use url::Url;
use vworkspace_http::proxy::{Rules, Way};

/// Longest silence of an API server while a call, or a watch, waits for it. It ends a watch of which there is nothing to
/// tell sooner than that, after 290 s.
pub const SILENCE: Duration = Duration::from_secs(295);

/// The configuration of a client whose calls fail after so long a silence, so that they are made again. A connection that
/// is dead on its other side tells nothing by itself, and the client would wait for ever, and whoever waits for it.
pub fn giving_up_after(mut config: Config, silence: Duration) -> Config {
    config.read_timeout = Some(silence);
    // Counted from each call, not from when its connection was used last.
    config.reset_reader_on_write = true;
    config
}

/// The configuration with the way to the API server that the environment asks for, in a pod, too: kube-client knows no proxy
/// there, and elsewhere compares the exceptions with the proxy's own address. A proxy that the kubeconfig names for its
/// cluster counts before the environment, as it does for kubectl.
pub fn reached_by(mut config: Config, rules: &Rules) -> (Config, Way) {
    let peer = Url::parse(&config.cluster_url.to_string()).ok();
    let of_kubeconfig = config.proxy_url.as_ref().filter(|proxy| !is_of_environment(proxy));
    let way = match (of_kubeconfig.map(|proxy| Url::parse(&proxy.to_string())), peer) {
        (Some(Ok(proxy)), _) => Way::Through(proxy),
        (_, Some(peer)) => rules.way_to(&peer),
        (_, None) => Way::Direct,
    };
    config.proxy_url = match &way {
        Way::Direct => None,
        Way::Through(proxy) => proxy.as_str().parse().ok(),
    };
    (config, way)
}

fn is_of_environment(proxy: &Uri) -> bool {
    let named = ["HTTPS_PROXY", "https_proxy"].into_iter().filter_map(|name| env::var(name).ok());
    named.filter_map(|text| text.parse::<Uri>().ok()).any(|uri| uri == *proxy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(server: &str, of_kubeconfig: Option<&str>, exceptions: &str) -> (Option<String>, String) {
        let rules = Rules::read(|name| match name {
            "HTTPS_PROXY" => Some("http://user:hunter2@proxy.example:3128".to_owned()),
            "NO_PROXY" => Some(exceptions.to_owned()),
            _ => None,
        });
        let mut config = Config::new(server.parse().unwrap());
        config.proxy_url = of_kubeconfig.map(|proxy| proxy.parse().unwrap());
        let (config, way) = reached_by(config, &rules.unwrap());
        (config.proxy_url.map(|proxy| proxy.to_string()), way.to_string())
    }

    #[test]
    fn api_server_is_reached_by_the_rules_of_the_environment() {
        let through = "http://user:hunter2@proxy.example:3128/".to_owned();
        let shown = "through the proxy http://proxy.example:3128".to_owned();
        assert_eq!(way("https://10.96.0.1", None, ""), (Some(through.clone()), shown.clone()));
        assert_eq!(way("https://10.96.0.1", None, "10.0.0.0/8,"), (None, "directly".to_owned()));
        assert_eq!(way("https://kubernetes.default.svc", None, ".svc"), (None, "directly".to_owned()));
        assert_eq!(way("https://10.96.0.1:6443", None, "10.96.0.1:443"), (Some(through), shown));
        assert_eq!(way("https://127.0.0.1:6443", None, "").0, None);
    }

    #[test]
    fn proxy_of_the_kubeconfig_counts_before_the_environment() {
        let (proxy, shown) = way("https://10.96.0.1", Some("socks5://own:1080"), "*");
        assert_eq!(shown, "through the proxy socks5://own:1080");
        assert!(proxy.unwrap().starts_with("socks5://own:1080"));
    }
}
