"""What `layer_curvature` is made of: the blocks of the Gauss-Newton matrix, one a layer, summed without forming any.

    exact         the function itself: what was asked for
    budget        a look at two samples: how much fits into memory?
    verification  is the network what a pass supposes? a few samples of each chunk are run again
    layout        where the samples are in what a layer is given
    linearity     is the Gauss-Newton block of a layer its Hessian?
    summation     passes over the data: all columns, those that matter, or random ones
    recording     a layer's inputs, and the gradients in its outputs
    contraction   T^l from the two
    rows          the block of one layer as a matrix of gradients, for products
    features      the standard deviation of each input feature
    result        running sums of a layer, and what is read off them

Only `layer_curvature` and `LayerCurvature` are public, from the package.
"""
