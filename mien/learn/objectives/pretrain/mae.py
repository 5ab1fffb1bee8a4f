"""MAE: the pixels of hidden patches are told from visible patches alone."""

from mien.learn.batch import Batch
from mien.learn.decoder import Decoder
from mien.learn.masking import patch_pixels, random_mask
from mien.learn.model import FaceModel
from mien.learn.objective import Loss, Objective, Progress, TrainingData


class MAE(Objective):
    """Mean squared error between predicted and true pixels of the hidden patches.

    The encoder sees visible patches alone; a decoder, thrown away afterwards, puts mask tokens in between.

    Args:
        mask_share: Share of the patches that are hidden, at random.
        norm_pixels: Gives the target pixels of each patch zero mean and unit deviation.
        decoder: Transformer blocks of the decoder; MAE's 8 go with 12 of the encoder, 2 suit a small one.
        decoder_width: Of these blocks, a multiple of 32; null: the encoder's. MAE's 512.

    Equation:
        L = mean (x̂ − x)² over the pixels x of the hidden patches.

    Source:
        He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022.
    Differs:
        The decoder sees no CLS token, and linear maps start at a truncated normal of deviation 0.02. Targets are pixels as the
        encoder sees them. With pixels scaled per image, mean and deviation of the whole face reach the encoder.
    """

    learns_from = "images"

    def __init__(
        self, *, mask_share: float = 0.75, norm_pixels: bool = True, decoder: int = 8, decoder_width: int | None = None
    ) -> None:
        super().__init__()
        self.mask_share, self.norm_pixels = mask_share, norm_pixels
        self.decoder, self.decoder_width = decoder, decoder_width

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"masking"})

    def bind(self, model: FaceModel, data: TrainingData) -> None:
        encoder = model.encoder
        pixels = model.pixels.channels * encoder.patch**2
        self.decode = Decoder(encoder.width, pixels, encoder.grid, self.decoder, self.decoder_width)

    def forward(self, model: FaceModel, batch: Batch, progress: Progress) -> Loss:
        images, encoder = batch.views["weak"], model.encoder
        mask = random_mask(batch.keys, encoder.grid, self.mask_share)  # (B, L)  # type: ignore[arg-type]
        predicted = self.decode(model.encode(images, mask=mask).tokens, mask)  # (hidden, C · patch²)
        targets = patch_pixels(model.pixels(images), encoder.patch)[mask]
        if self.norm_pixels:
            deviation = (targets.var(1, keepdim=True) + 1e-6).sqrt()  # MAE's 1e-6 and unbiased variance
            targets = (targets - targets.mean(1, keepdim=True)) / deviation
        # What predicting zero everywhere would cost: the floor to watch.
        return Loss((predicted - targets).square().mean(), None, {"of_zero": targets.square().mean()})
