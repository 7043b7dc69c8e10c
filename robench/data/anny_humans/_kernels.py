"""The Warp kernel of the generator: nearest point on the body with its side, face and weights. Imported lazily."""

# Warp ships no type for its decorators, and builds kernels from annotations that mypy cannot read.
# mypy: disable-error-code="misc,valid-type,no-untyped-def,no-untyped-call,untyped-decorator,name-defined,type-arg"

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.kernel
def nearest(  # noqa: ANN202
    tree: wp.uint64,
    points: wp.array[wp.vec3],
    reach: wp.float32,
    distance: wp.array[wp.float32],
    face: wp.array[wp.int32],
    bary: wp.array[wp.vec3],
):
    """Signed distance (by the nearest feature's pseudo-normal), face and weights; `reach` where nothing is nearer."""
    i = wp.tid()
    p = points[i]
    q = wp.mesh_query_point_sign_normal(tree, p, reach)
    distance[i] = reach
    face[i] = wp.int32(-1)
    bary[i] = wp.vec3(wp.float32(0.0), wp.float32(0.0), wp.float32(0.0))
    if q.result:
        distance[i] = q.sign * wp.length(wp.mesh_eval_position(tree, q.face, q.u, q.v) - p)
        face[i] = q.face
        bary[i] = wp.vec3(q.u, q.v, wp.float32(1.0) - q.u - q.v)
