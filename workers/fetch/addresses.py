"""Which IP addresses are public. Whatever is not plainly so is not."""

import ipaddress
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# `is_global` alone does not do: it lets multicast, relays of 6to4 and the metadata address of one cloud pass.
_NOT_PUBLIC: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("0.0.0.0/8", "192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "224.0.0.0/3")
)
# All that is routed today. Outside lie the forms that carry an IPv4 address: mapped, compatible, NAT64.
_ROUTED: Final = ipaddress.ip_network("2000::/3")
# Inside: Teredo and other protocols' own, documentation, 6to4 (which carries an IPv4 address).
_NOT_ROUTED: Final = tuple(
    ipaddress.ip_network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in _NOT_PUBLIC)
    routed = address in _ROUTED and not any(address in network for network in _NOT_ROUTED)
    return routed and address.is_global and address.scope_id is None
