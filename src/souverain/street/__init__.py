"""Côte-d'Or Street: the roads of the département in panoramas located to the centimetre.

A delivery (`Campaign`) arrives as pictures and, when there is one, a trajectory. Each picture's
pose is read (`engine.pose`), faces and plates are blurred (`privacy`), the blurred picture is cut
into one packed pyramid (`engine.pyramid`), and a `Panorama` row is written. Everything that is
served, public or not, comes from that pyramid; the original stays under restricted access or is
dropped. Published panoramas are found through a packed index (`finding`), linked along the road
graph of `territory` (`links`), walked in the viewer, and measured on (`engine.triangulation`).
"""
