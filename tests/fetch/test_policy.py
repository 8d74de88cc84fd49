"""Which addresses may be named, and which hosts may be reached."""

import ipaddress

import pytest

from workers.contracts.errors import UserError
from workers.fetch.addresses import is_public
from workers.fetch.policy import Policy, of_environment

PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "100.100.100.200"),
    *("0.0.0.0", "192.0.0.192", "192.88.99.1", "198.18.0.1", "203.0.113.7", "224.0.0.1", "240.0.0.1"),
    *("255.255.255.255", "168.63.129.16", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:100.64.0.1"),
    *("::ffff:8.8.8.8", "64:ff9b::a9fe:a9fe", "64:ff9b::8.8.8.8", "64:ff9b:1::7f00:1", "2002:7f00:1::"),
    *("2002:808:808::", "2001::1", "2001:db8::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1"),
    *("ff02::1", "ff0e::1", "100::1", "2606:4700::1%eth0"),
]


@pytest.mark.parametrize("text", PRIVATE)
def test_what_is_not_plainly_public_is_not(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "151.101.1.1", "2606:4700::6810:84e5", "2a00:1450:4001::1"])
def test_public_addresses_are_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "url",
    [
        *(f"http://[{one}]/" if ":" in one else f"http://{one}/" for one in PRIVATE),
        *("http://0177.0.0.1/", "http://0x7f.1/", "http://2130706433/", "http://127.1/", "http://0/"),
        *(
            "http://localhost/",
            "http://LOCALHOST./x",
            "http://a.localhost/",
            "http://１２７.０.０.１/",
            "http://①２７.1/",
        ),
        *("http://8.8.8.8@127.0.0.3/", "http://u:p@example.com/", "http://example.com\\@127.0.0.3/"),
        *("http://127.0.0.2#@127.0.0.3/", "http://exa mple.com/", "http://example.com/\n", "http://exam\tple.com/"),
        *(
            "http://example.com:22/",
            "http://example.com:6379/",
            "http://example.com:0x50/",
            "http://example.com:99999/",
        ),
        *(
            "file:///etc/passwd",
            "local:///etc/passwd",
            "local_file:///etc/passwd",
            "ftp://example.com/x",
            "gopher://x/",
        ),
        *("data:text/csv,a", "simplecache::http://example.com/", "zip://x::file:///etc/passwd", "reference://x"),
        *("github://a:b@/x", "//example.com/x", "http:///x", "http://", "", "example.com/a.csv", "http://a..b/"),
        *("https://-a.com/", "http://[::1", "http://[v1.x]/", f"http://{'a' * 64}.com/", f"http://a.com/{'x' * 2000}"),
        *("s3://bucket/key", "s3:///key", "s3://bucket", "s3://Bucket/key"),
    ],
)
def test_addresses_that_are_refused_when_they_are_named(url: str) -> None:
    with pytest.raises(UserError) as caught:
        Policy().target(url)
    assert caught.value.code == "url_not_allowed"


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://example.com/a/b.csv?x=1&y=%20#part", ("https", "example.com", 443, "/a/b.csv?x=1&y=%20")),
        ("HTTP://Example.COM.:8080", ("http", "example.com", 8080, "/")),
        ("https://bücher.example/größe.csv", ("https", "xn--bcher-kva.example", 443, "/gr%C3%B6%C3%9Fe.csv")),
        ("http://8.8.8.8/x", ("http", "8.8.8.8", 80, "/x")),
        ("https://[2606:4700::6810:84e5]/x", ("https", "2606:4700::6810:84e5", 443, "/x")),
    ],
)
def test_addresses_are_taken_apart_once(url: str, parts: tuple[str, str, int, str]) -> None:
    assert Policy().target(url) == parts


@pytest.mark.parametrize(
    ("url", "name"),
    [("https://a.com/x/train%20set.csv?v=1", "train set.csv"), ("https://a.com/", "a.com"), ("https://a.com/d/", "d")],
)
def test_a_file_is_called_as_in_its_address(url: str, name: str) -> None:
    assert Policy().target(url).filename == name


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("s3://data/x.csv", True),
        ("s3://shared/public/a/x.csv", True),
        ("s3://shared/publicity/x.csv", False),
        ("s3://shared/public/../secret.csv", False),
        ("s3://shared/public//x.csv", False),
        ("s3://shared/x.csv", False),
        ("s3://data/slipway/teams/x", False),
        ("s3://data2/x.csv", False),
        ("s3://data/x.csv?versionId=1", False),
    ],
)
def test_only_buckets_that_the_operator_names_are_read_and_never_the_storage(url: str, allowed: bool) -> None:
    policy = of_environment({"SLIPWAY_IMPORT_BUCKETS": "data, shared/public/", "SLIPWAY_STORAGE": "s3://data/slipway"})
    if allowed:
        assert policy.target(url).scheme == "s3"
    else:
        with pytest.raises(UserError):
            policy.target(url)


@pytest.mark.parametrize("value", ["10.0.0.1/8", "example.com", "10.0.0.0/40"])
def test_networks_are_written_plainly(value: str) -> None:
    with pytest.raises(ValueError, match="SLIPWAY_IMPORT_NETWORKS"):
        of_environment({"SLIPWAY_IMPORT_NETWORKS": value})
