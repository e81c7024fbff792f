"""The image, proved: ``make container-test``.

Builds the Containerfile with buildah on a base image made by debootstrap, starts what the image
says as the user it names, on a root that cannot be written, places calls, and stops it. That
needs no container engine; where there is Docker, the Compose example is started as well. Nothing
is pulled from an image registry, and nothing of this machine goes into the image.

- `base`: the base image. `packages`: the locked wheels, and an index of them for pip.
- `image`: build it, and what it says of itself. `box`: run it, with Linux's own tools.
- `checks`: what it must say and hold. `trial`: calls to it.
- `docker`: an engine of its own. `stack`: the Compose example on it, with `neighbours/`.
- `__main__`: the order of things.

Needs root, Debian's buildah and debootstrap, and a Debian mirror in apt's sources.
"""
