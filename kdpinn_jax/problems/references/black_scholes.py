"""European call options in closed form."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.scipy.stats import norm
from jaxtyping import Float

from ...base.types import Field
from ..black_scholes import S, T


def black_scholes(coefficients: Mapping[str, Any]) -> Field:
    """The value of a European call with strike 1 and maturity 1, z = (t, S) -> V in units of the strike.

        V = S Φ(d₁) − e^{−rτ} Φ(d₂),   d₁ = (log S + (r + σ²/2) τ)/(σ√τ),   d₂ = d₁ − σ√τ,   τ = 1 − t.

    V(1, S) = max(S − 1, 0) and V(t, 0) = 0 hold exactly. The coefficients are ``sigma`` σ per √year and ``r`` per year.
    The derivatives are the Greeks: Δ = V_S = Φ(d₁), Γ = V_SS. Source: Black & Scholes (1973), eq. 13.
    """
    sigma, r = coefficients["sigma"], coefficients["r"]

    def value(z: Float[Array, " 2"]) -> Float[Array, " 1"]:
        t, s = z[T], z[S]
        before_maturity, positive = t < 1, s > 0
        # √τ and log S are replaced at their limits, so that no NaN enters a derivative.
        tau = jnp.where(before_maturity, 1 - t, 1.0)
        spot = jnp.where(positive, s, 1.0)
        width = sigma * jnp.sqrt(tau)
        d1 = (jnp.log(spot) + (r + sigma**2 / 2) * tau) / width
        price = spot * norm.cdf(d1) - jnp.exp(-r * tau) * norm.cdf(d1 - width)
        at_maturity = jnp.maximum(s - 1, 0.0)
        return jnp.where(before_maturity, jnp.where(positive, price, 0.0), at_maturity)[None]

    return value
