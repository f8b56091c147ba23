"""Where the rooms are put together: settings, routes, the ASGI application."""
