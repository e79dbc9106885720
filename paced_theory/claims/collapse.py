"""Claims about the collapse of the gradient SNR at both ends of the pass rate."""

import numpy as np

from paced_theory.claims.ledger import Attack, Comparison, Derivation, Evidence, Section
from paced_theory.collapse import LogisticStudent, SoftmaxStudent, forward_kl, forward_kl_logit_gradient, log_pass_rate_floor

section = Section("collapse", "Boundary collapse of the gradient SNR", "paced_theory/collapse.py")


def _sample_snr_squared(gradients: np.ndarray) -> tuple[float, float]:
    """Unbiased |mean|^2 over unbiased trace of the covariance, and the standard error of the ratio by a jackknife over 50 groups."""

    def ratio(sample: np.ndarray) -> float:
        n, mean = len(sample), sample.mean(axis=0)
        trace = float(np.sum((sample - mean) ** 2)) / (n - 1)
        return (float(mean @ mean) - trace / n) / trace

    groups = np.array_split(np.arange(len(gradients)), 50)
    left_out = np.array([ratio(np.delete(gradients, group, axis=0)) for group in groups])
    return ratio(gradients), float(np.sqrt(49 / 50 * np.sum((left_out - left_out.mean()) ** 2)))


def _slope(snr_squared: np.ndarray, distance: np.ndarray) -> float:
    return float(np.polyfit(np.log(distance), np.log(snr_squared), 1)[0])


@section.claim(
    "pinsker",
    statement="The logit gradient of forward KL vanishes with the divergence: its 2-norm is at most sqrt(KL), not just sqrt(2 KL).",
    formula="|pi_S - pi_T|_2 <= |pi_S - pi_T|_1 / sqrt(2) <= sqrt(KL)",
    source="PACED Prop. 1 (Pinsker, sqrt(2 KL)); the constant ours",
    assumptions="two distributions over the same finite vocabulary",
    route="100,000 random pairs over 2 to 50 tokens; the limit of nearby two-token distributions",
)
def _() -> Evidence:
    import sympy as sp

    h = sp.symbols("h", positive=True)
    half = sp.Rational(1, 2)
    divergence = half * sp.log(half / (half + h)) + half * sp.log(half / (half - h))
    tight = sp.limit(2 * h**2 / divergence, h, 0)  # the squared norm is 2 h^2
    rng = np.random.default_rng(1)
    largest = 0.0
    for vocabulary in (2, 3, 10, 50):
        logits, teacher = rng.normal(scale=3.0, size=(25_000, vocabulary)), rng.dirichlet(np.full(vocabulary, 0.5), 25_000)
        norm = np.linalg.norm(forward_kl_logit_gradient(logits, teacher), axis=1)
        largest = max(largest, float(np.max(norm / np.sqrt(forward_kl(logits, teacher)))))
    return Evidence(
        Comparison(largest, 1.0, 1e-9, "<=", what="largest norm / sqrt(KL)"),
        derivation=Derivation(
            "the ratio of squares tends to 1 for the pairs (1/2, 1/2), (1/2 + h, 1/2 - h): the constant is best", tight == 1
        ),
    )


@section.claim(
    "gradient-formula",
    statement="The gradient of forward KL in the student's logits is pi_S - pi_T.",
    formula="d KL(pi_T || softmax(z)) / dz = softmax(z) - pi_T",
    source="PACED Prop. 1 (standard)",
    assumptions="softmax student",
    route="central differences at a random point over 6 tokens",
)
def _() -> Evidence:
    import sympy as sp

    z = sp.symbols("z0:3")
    t = sp.symbols("t0:3", positive=True)
    total = sum(sp.exp(x) for x in z)
    loss = sum(t[i] * (sp.log(t[i]) - z[i] + sp.log(total)) for i in range(3))
    symbolic = all(sp.simplify(sp.diff(loss, z[i]) - (sum(t) * sp.exp(z[i]) / total - t[i])) == 0 for i in range(3))
    rng = np.random.default_rng(6)
    logits, teacher, step = rng.normal(size=6), rng.dirichlet(np.ones(6)), 1e-6
    numeric = [
        (float(forward_kl(logits + step * e, teacher)) - float(forward_kl(logits - step * e, teacher))) / (2 * step) for e in np.eye(6)
    ]
    return Evidence(
        Comparison(
            float(np.abs(np.subtract(numeric, forward_kl_logit_gradient(logits, teacher))).max()), 0.0, 1e-8, what="largest difference"
        ),
        derivation=Derivation("three tokens, with sum(t) = 1", symbolic),
    )


@section.claim(
    "logistic-model",
    statement="The logistic student with a shared skill direction has SNR(p) in closed form.",
    formula="SNR^2 = (1-p)^2 p^(2 kappa) / ((1-p)^2 s2 + sigma0^2)",
    source="ours (model of PACED Prop. 1)",
    assumptions="g = -(1-p)(p^kappa u + xi) + eps with independent xi, eps",
    route="20,000 simulated gradients at each of 5 pass rates; attacked with Student's t noise",
)
def _() -> Evidence:
    student = LogisticStudent(kappa=0.5, feature_noise=1.0, noise_floor=0.1, dimension=8)
    rng = np.random.default_rng(13)

    def distance(tail: float | None) -> float:
        found = [(_sample_snr_squared(student.gradients(p, 20_000, rng, degrees_of_freedom=tail)), p) for p in (0.05, 0.3, 0.5, 0.8, 0.95)]
        return max(abs(value - float(student.snr_squared(p))) / error for (value, error), p in found)

    heavy = distance(4.5)
    return Evidence(
        Comparison(distance(None), 4.0, 0.0, "<=", what="largest distance in standard errors"),
        attacks=(Attack("Student's t noise with 4.5 degrees of freedom", heavy < 4, "noise without heavy tails"),),
    )


@section.claim(
    "softmax-model",
    statement="A softmax student over V tokens trained by forward KL has SNR(p) in closed form too.",
    formula="SNR^2 = L^2 p^(2 kappa) D^2/(V-1) / (L D^2 (p^(2 kappa) + s2 V/(V-1)) + M s2 (1 - 1/V)), D = 1 - p^(1/L)",
    source="ours (model of PACED Prop. 1)",
    assumptions="one-hot teacher, L answer tokens of equal difficulty, M style tokens",
    route="20,000 exact softmax gradients at each of 4 pass rates",
)
def _() -> Evidence:
    student = SoftmaxStudent(vocabulary=5, answer_tokens=2, style_tokens=1)
    rng = np.random.default_rng(14)
    found = [(_sample_snr_squared(student.gradients(p, 20_000, rng)), p) for p in (0.1, 0.4, 0.7, 0.95)]
    return Evidence(
        Comparison(
            max(abs(v - float(student.snr_squared(p))) / e for (v, e), p in found),
            4.0,
            0.0,
            "<=",
            what="largest distance in standard errors",
        )
    )


@section.claim(
    "exponents",
    statement="Near the boundaries SNR^2 falls as p^(2 kappa) and (1-p)^2.",
    formula="SNR^2 ~ c0 p^(2 kappa), p -> 0; SNR^2 ~ c1 (1-p)^2, p -> 1",
    source="ours",
    assumptions="logistic student with a positive, constant noise floor",
    route="log-log regression of the closed form at distances 1e-6..1e-4; symbolic limits",
)
def _() -> Evidence:
    import sympy as sp

    p, kappa, s2, floor = sp.symbols("p kappa s2 sigma0", positive=True)
    snr2 = (1 - p) ** 2 * p ** (2 * kappa) / ((1 - p) ** 2 * s2 + floor**2)
    limits = (sp.limit(sp.simplify(snr2 / p ** (2 * kappa)), p, 0), sp.limit(sp.simplify(snr2 / (1 - p) ** 2), p, 1))
    derived = sp.simplify(limits[0] - 1 / (s2 + floor**2)) == 0 and sp.simplify(limits[1] - 1 / floor**2) == 0
    student = LogisticStudent(kappa=0.7, noise_floor=0.2)
    near = np.geomspace(1e-6, 1e-4, 9)
    expected = student.boundary_exponents()
    return Evidence(
        Comparison(_slope(np.asarray(student.snr_squared(near)), near), 2 * 0.7, 1e-3, what="a' at kappa = 0.7"),
        (
            Comparison(_slope(np.asarray(student.snr_squared(1 - near)), near), 2.0, 1e-3, what="b'"),
            Comparison(abs(expected[0] - 1.4) + abs(expected[1] - 2.0), 0.0, 1e-12, what="exponents reported by the model"),
        ),
        Derivation("limits of SNR^2/p^(2 kappa) and SNR^2/(1-p)^2", bool(derived)),
    )


@section.claim(
    "collapse-hard",
    statement="SNR(p) -> 0 as p -> 0: problems never solved share no gradient direction.",
    formula="SNR(0+) = 0",
    source="PACED Prop. 1",
    assumptions="the logistic student, kappa > 0",
    route="closed form at p = 1e-8, checked against simulation by another claim; attacked with a shared direction",
)
def _() -> Evidence:
    shared = float(LogisticStudent(kappa=0.0).snr_squared(1e-8))
    return Evidence(
        Comparison(float(LogisticStudent(kappa=0.5).snr_squared(1e-8)), 0.0, 1e-7, what="SNR^2 at p = 1e-8"),
        attacks=(
            Attack(
                "kappa = 0, a shared direction even among unsolved problems",
                shared < 1e-3,
                f"SNR^2 is then {shared:.3f} at p = 1e-8; nothing in forward KL itself makes the shared part of the gradient vanish",
                drops="kappa > 0",
            ),
        ),
    )


@section.claim(
    "collapse-mastered",
    statement="SNR(p) -> 0 as p -> 1: the gradient of a mastered problem vanishes against the noise floor.",
    formula="SNR(1-) = 0",
    source="PACED Prop. 1",
    assumptions="forward KL to a teacher, per-problem gradients",
    route="closed forms of both models at 1 - p = 1e-6",
    recorded="conditional",
)
def _() -> Evidence:
    near = 1 - 1e-6
    vanishing = float(LogisticStudent(noise_floor=0.1, floor_exponent=2.0).snr_squared(near))
    no_style = float(SoftmaxStudent(style_tokens=0).snr_squared(near))
    soft = SoftmaxStudent(teacher_error=0.05)
    soft_end, soft_zero = float(soft.snr_squared(near)), float(soft.snr_squared(soft.matched_pass_rate))
    return Evidence(
        Comparison(float(LogisticStudent().snr_squared(near)), 0.0, 1e-9, what="logistic student"),
        (Comparison(float(SoftmaxStudent().snr_squared(near)), 0.0, 1e-9, what="softmax student"),),
        attacks=(
            Attack(
                f"a noise floor that vanishes as (1-p)^2: SNR^2 = {vanishing:.2f}; no style tokens: {no_style:.2f}",
                max(vanishing, no_style) < 1e-3,
                "a noise floor that does not vanish with the signal (other tokens of the response keep supplying gradient)",
            ),
            Attack(
                f"teacher error 0.05: SNR^2 = {soft_end:.4f} at p = 1, {soft_zero:.0e} at p = {soft.matched_pass_rate:.3f}",
                soft_end < 1e-9,
                "a one-hot teacher: a soft one moves the zero from p = 1 to the pass rate at which the student matches it",
            ),
        ),
    )


@section.claim(
    "vanishing-gradient",
    statement="As p -> 1 the gradient itself vanishes, whatever the noise does.",
    formula="|pi_S - pi_T|_2 -> 0 as pi_S(correct) -> 1, one-hot teacher",
    source="PACED Prop. 1",
    assumptions="the teacher is one-hot on the graded answer, a single answer token",
    route="random wrong-token distributions at 1 - p = 1e-6; attacked with a soft teacher",
)
def _() -> Evidence:
    rng = np.random.default_rng(9)
    gap = 1e-6
    wrong = rng.dirichlet(np.ones(9), 1000) * gap
    student = np.concatenate([np.full((1000, 1), 1 - gap), wrong], axis=1)
    hard = np.eye(10)[0]
    soft = np.concatenate([[0.9], np.full(9, 0.1 / 9)])
    norms = [
        float(np.linalg.norm(forward_kl_logit_gradient(np.log(student), np.tile(teacher, (1000, 1))), axis=1).max())
        for teacher in (hard, soft)
    ]
    return Evidence(
        Comparison(norms[0], 2 * gap, 0.0, "<=", what="largest gradient norm"),
        attacks=(
            Attack(
                "a teacher with probability 0.9 on the answer",
                norms[1] < 1e-3,
                f"the norm stays at {norms[1]:.3f}: a pass rate of 1 is not agreement with a soft teacher",
                drops="the teacher is one-hot on the graded answer",
            ),
        ),
    )


def _pass_rate(logits: np.ndarray, passing: np.ndarray) -> float:
    """Probability of the passing responses of two tokens: every response listed; logits (V + 1, V), the first token's, then the second's."""
    policy = np.exp(logits - logits.max(axis=1, keepdims=True))
    policy /= policy.sum(axis=1, keepdims=True)
    return float(np.sum(policy[0][:, None] * policy[1:] * passing))


@section.claim(
    "bounded-logits",
    statement="With logits in [-B, B] every pass rate lies in [eps, 1 - eps]: the limits p -> 0 and p -> 1 are out of reach at fixed B.",
    formula="pi(token) >= 1/(1 + (V-1) e^(2B)) >= e^(-2B)/V; eps = (1 + (V-1) e^(2B))^-L for answers of L tokens",
    source="ours (consequence of PACED Assumption 2, bounded logits)",
    assumptions="every logit in [-B, B]; responses sampled from the full softmax; a passing and a failing response of at most L tokens exist",
    route="box-constrained minimisation of a token's log probability, V = 7, B = 2; all responses of two tokens listed for 2,000 students",
)
def _() -> Evidence:
    import sympy as sp
    from scipy.optimize import minimize

    bound, vocabulary = sp.symbols("B V", positive=True)
    z, rest = sp.symbols("z s", real=True)  # the token's logit; the sum of e^logit over the other tokens
    token = sp.exp(z) / (sp.exp(z) + rest)
    vertex = token.subs({z: -bound, rest: (vocabulary - 1) * sp.exp(bound)})
    monotone = sp.simplify(sp.diff(token, z) - rest * sp.exp(z) / (sp.exp(z) + rest) ** 2) == 0 and (
        sp.simplify(sp.diff(token, rest) + sp.exp(z) / (sp.exp(z) + rest) ** 2) == 0
    )
    slack = sp.simplify(1 / vertex - (1 + (vocabulary - 1) * sp.exp(2 * bound))) == 0
    weaker = sp.simplify(vocabulary * sp.exp(2 * bound) - (1 + (vocabulary - 1) * sp.exp(2 * bound)) - (sp.exp(2 * bound) - 1)) == 0

    rng = np.random.default_rng(12)
    V, B = 7, 2.0

    def log_token(logits: np.ndarray) -> float:
        return float(logits[0] - np.log(np.exp(logits).sum()))

    found = min(float(minimize(log_token, rng.uniform(-B, B, V), method="L-BFGS-B", bounds=[(-B, B)] * V).fun) for _ in range(3))
    # Students of two tokens; one response of 49 passes (or fails: the same with p and 1 - p exchanged). Random ones, and the worst of all.
    answer = np.zeros((V, V))
    answer[2, 5] = 1
    floor = float(np.exp(log_pass_rate_floor(B, V, 2)))
    random = min(_pass_rate(rng.choice([-B, B], (V + 1, V)), answer) for _ in range(2_000))
    worst = np.full((V + 1, V), B)
    worst[0, 2] = worst[3, 5] = -B
    unbounded = worst.copy()
    unbounded[0, 2] = -20 * B
    favourite = rng.uniform(-B, B, (V + 1, V)).argmax(axis=1)  # what one student writes without sampling
    long = float(log_pass_rate_floor(10.0, 32_000, 100)) / np.log(10)
    return Evidence(
        Comparison(found, float(log_pass_rate_floor(B, V, 1)), 1e-6, what="least log probability of a token"),
        (
            Comparison(_pass_rate(worst, answer) / floor, 1.0, 1e-12, what="least pass rate over eps, two tokens"),
            Comparison(floor / random, 1.0, 1e-12, "<=", what="eps over the least pass rate of the students"),
            Comparison(floor, float(np.exp(-4 * B) / V**2), 0.0, ">=", what="eps against (e^(-2B)/V)^2"),
            Comparison(long, -1_000.0, 0.0, "<=", what="log10 eps at B = 10, V = 32,000, L = 100: no number of rollouts shows it"),
        ),
        Derivation(
            "a token's probability rises in its own logit and falls in the others: its least value is at a corner",
            bool(monotone and slack and weaker),
        ),
        (
            Attack(
                "one logit at -20 B",
                _pass_rate(unbounded, answer) >= floor,
                f"p = {_pass_rate(unbounded, answer):.0e} is then below eps = {floor:.0e}: the limit is one of growing logits",
                drops="every logit in [-B, B]",
            ),
            Attack(
                "greedy decoding of a random student",
                float(answer[favourite[0], favourite[1 + favourite[0]]]) >= floor,
                "p is then exactly 0, and 1 for the one answer that it writes; truncated sampling (top-k, top-p) can do the same",
                drops="responses sampled from the full softmax",
            ),
        ),
    )
