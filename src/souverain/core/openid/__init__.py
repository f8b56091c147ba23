"""Sign-in through an OpenID Connect provider: ProConnect, or a département's own.

`config` reads the environment, `transport` is the only way out (it asks `core.egress`), `tokens`
checks what the provider signed, `provider` and `views` carry the code flow through allauth, and
`people` decides who may open an account: people who were invited, and nobody else.
"""
