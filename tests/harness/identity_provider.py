"""An identity provider with one user and one client, in memory: canaille, at a port, for redirect URIs."""

import sys

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from joserfc.jwk import RSAKey

port, redirect_uris = sys.argv[1], sys.argv[2:]
key = RSAKey.generate_key(2048, auto_kid=True)
app = create_app({
    "SECRET_KEY": "a secret of a test",
    "SERVER_NAME": f"127.0.0.1:{port}",
    "PREFERRED_URL_SCHEME": "http",
    "CANAILLE": {"DATABASE": "memory", "LOGGING": None},
    "CANAILLE_OIDC": {"ACTIVE_JWKS": [key.as_dict(private=True)]},
})
with app.app_context(), Backend.instance.session():
    Backend.instance.save(models.User(
        user_name="bob", formatted_name="Bob", family_name="Bob", emails=["bob@example.org"],
        password="a password of bob",
    ))
    client = models.Client(
        client_id="weir", client_secret="the secret/of:weir", client_name="weir", client_uri="http://127.0.0.1",
        redirect_uris=redirect_uris, grant_types=["authorization_code", "refresh_token"], response_types=["code"],
        scope=["openid", "email", "profile"], token_endpoint_auth_method="client_secret_basic",
        contacts=["admin@example.org"],
    )
    Backend.instance.save(client)
    client.audience = [client]
    Backend.instance.save(client)
app.run(host="127.0.0.1", port=int(port), threaded=True)
