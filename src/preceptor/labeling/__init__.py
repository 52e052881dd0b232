"""The labelers' web app: pages on the server, working without JavaScript; knows no torch."""
