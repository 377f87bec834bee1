"""The Hessian as a matrix that is never formed: products with it, traces by estimate, eigenvalues."""
