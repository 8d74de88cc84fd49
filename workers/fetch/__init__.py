"""Files that are fetched from elsewhere because a user named their address: http, https and, where allowed, s3.

Whoever names an address must reach nothing by it that only this machine can reach. `policy` says what may be fetched,
`addresses` which hosts are public, `http` and `bucket` fetch.
"""
