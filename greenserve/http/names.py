"""What is known of particular field names. Data alone; names are in lower case."""

from __future__ import annotations

__all__ = ["HOP_BY_HOP", "REPEATED_IN_REQUESTS", "REPEATED_IN_RESPONSES", "SERVER_VARIABLES"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Fields about one connection (RFC 9110 section 7.6.1, and RFC 2616 section 13.5.1, which PEP 3333 goes by).
HOP_BY_HOP = _words(
    """
    connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer trailers
    transfer-encoding upgrade
    """
)

# Fields that are the same in many messages and never secret, so that their lines are worth remembering. A list of what
# to forget instead (Cookie, Authorization, X-Api-Key, X-Csrf-Token, ...) could never be complete.
REPEATED_IN_REQUESTS = _words(
    """
    accept accept-charset accept-encoding accept-language access-control-request-headers
    access-control-request-method cache-control connection content-encoding content-type dnt expect host
    keep-alive origin pragma priority proxy-connection save-data sec-ch-ua sec-ch-ua-arch
    sec-ch-ua-full-version-list sec-ch-ua-mobile sec-ch-ua-model sec-ch-ua-platform sec-ch-ua-platform-version
    sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-storage-access sec-fetch-user sec-gpc
    sec-websocket-extensions sec-websocket-version te transfer-encoding upgrade upgrade-insecure-requests
    user-agent via x-forwarded-host x-forwarded-port x-forwarded-proto x-requested-with
    """
)
REPEATED_IN_RESPONSES = _words(
    """
    accept-ranges access-control-allow-credentials access-control-allow-headers access-control-allow-methods
    access-control-allow-origin access-control-expose-headers access-control-max-age allow alt-svc cache-control
    content-disposition content-encoding content-language content-length content-security-policy content-type
    cross-origin-embedder-policy cross-origin-opener-policy cross-origin-resource-policy expires
    permissions-policy pragma referrer-policy server strict-transport-security vary via x-content-type-options
    x-frame-options x-permitted-cross-domain-policies x-powered-by x-xss-protection
    """
)

# Variables that the server itself goes by. A name with an underscore never stands for one of these.
SERVER_VARIABLES = _words(
    """
    CONTENT_LENGTH HTTP_CONNECTION HTTP_EXPECT HTTP_FORWARDED HTTP_HOST HTTP_KEEP_ALIVE HTTP_PROXY_CONNECTION
    HTTP_TE HTTP_TRAILER HTTP_TRANSFER_ENCODING HTTP_UPGRADE
    """
)
