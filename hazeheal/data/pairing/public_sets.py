"""The public data sets of hazy and clear pairs, as data: where they come from, how they lie on the disk, how they pair.

docs/datasets.md describes the same for people, and a test holds the two together.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class PublicSet:
    """One data set as its authors give it out.

    Attributes:
        name: `hazy_pairs/NAME` for TFDS.
        title: What its authors call it.
        text: What is in it.
        page: Where to get it.
        splits: {split: (folder of the hazy images, folder of the clear ones)}, below one root. The authors' own splits,
            else all of it as one.
        rule: Of `hazeheal.data.pairing.rules`.
        example: A hazy and a clear file of one pair.
        config: What trains on it (`--config=`).
        size_mismatch: What to do with pairs of two sizes, as `hazeheal-tfrecords convert --size_mismatch` has it.
        unpack: What else there is to do after unpacking.
        citation: BibTeX.
    """

    name: str
    title: str
    text: str
    page: str
    splits: dict[str, tuple[str, str]]
    rule: str
    example: tuple[str, str]
    config: str
    citation: str
    size_mismatch: str = "error"
    unpack: str = ""

    @property
    def instructions(self) -> str:
        """Where to get it, and how it has to lie."""
        folders = [f"    {folder}/" for pair in self.splits.values() for folder in dict.fromkeys(pair)]
        lines = [f"{self.title}: from {self.page}", *folders]
        return "\n".join(lines + ([f"    {self.unpack}"] if self.unpack else []))


_RICE = """@article{lin2019rice,
  title={A Remote Sensing Image Dataset for Cloud Removal},
  author={Lin, Daoyu and Xu, Guangluan and Wang, Xiaoke and Wang, Yang and Sun, Xian and Fu, Kun},
  journal={arXiv:1901.00600},
  year={2019}
}"""
_RESIDE = """@article{li2019reside,
  title={Benchmarking Single-Image Dehazing and Beyond},
  author={Li, Boyi and Ren, Wenqi and Fu, Dengpan and Tao, Dacheng and Feng, Dan and Zeng, Wenjun and Wang, Zhangyang},
  journal={IEEE Transactions on Image Processing},
  volume={28}, number={1}, pages={492--505},
  year={2019}
}"""
_DENSE_HAZE = """@inproceedings{ancuti2019densehaze,
  title={Dense-Haze: A Benchmark for Image Dehazing with Dense-Haze and Haze-Free Images},
  author={Ancuti, Codruta O. and Ancuti, Cosmin and Sbert, Mateu and Timofte, Radu},
  booktitle={IEEE International Conference on Image Processing},
  year={2019}
}"""
_NH_HAZE = """@inproceedings{ancuti2020nhhaze,
  title={NH-HAZE: An Image Dehazing Benchmark with Non-Homogeneous Hazy and Haze-Free Images},
  author={Ancuti, Codruta O. and Ancuti, Cosmin and Timofte, Radu},
  booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition Workshops},
  year={2020}
}"""
_O_HAZE = """@inproceedings{ancuti2018ohaze,
  title={O-HAZE: A Dehazing Benchmark with Real Hazy and Haze-Free Outdoor Images},
  author={Ancuti, Codruta O. and Ancuti, Cosmin and Timofte, Radu and De Vleeschouwer, Christophe},
  booktitle={IEEE/CVF Conference on Computer Vision and Pattern Recognition Workshops},
  year={2018}
}"""
_I_HAZE = """@inproceedings{ancuti2018ihaze,
  title={I-HAZE: A Dehazing Benchmark with Real Hazy and Haze-Free Indoor Images},
  author={Ancuti, Cosmin and Ancuti, Codruta O. and Timofte, Radu and De Vleeschouwer, Christophe},
  booktitle={Advanced Concepts for Intelligent Vision Systems},
  year={2018}
}"""
_SATEHAZE1K = """@inproceedings{huang2020satehaze1k,
  title={Single Satellite Optical Imagery Dehazing using SAR Image Prior Based on conditional Generative Adversarial Networks},
  author={Huang, Binghui and Li, Zhi and Yang, Chao and Sun, Fuchun and Song, Yixu},
  booktitle={IEEE Winter Conference on Applications of Computer Vision},
  year={2020}
}"""

_RESIDE_PAGE = "https://sites.google.com/view/reside-dehaze-datasets"
_NTIRE = "https://data.vision.ee.ethz.ch/cvl"


def _satehaze1k(kind: str) -> PublicSet:
    root = f"Haze1k/Haze1k_{kind}/dataset"
    return PublicSet(
        name=f"satehaze1k_{kind}",
        title=f"SateHaze1k, {kind}",
        text=f"Satellite images of 512x512 with {kind} haze laid on by rule: 320 pairs to train, 35 to validate, 45 to test.",
        page="the page of the paper (Huang et al., WACV 2020), as Haze1k",
        splits={
            split: (f"{root}/{split}/input", f"{root}/{split}/target") for split in ("train", "valid", "test")
        },
        rule="satehaze1k",
        example=("12-inputs.png", "12-targets.png"),
        config="satehaze1k",
        citation=_SATEHAZE1K,
    )


PUBLIC_SETS = (
    PublicSet(
        name="rice1",
        title="RICE1",
        text="Satellite images of 512x512 under real thin cloud and haze, 500 pairs.",
        page="https://github.com/BUPTLdy/RICE_DATASET",
        splits={"train": ("RICE_DATASET/RICE1/cloud", "RICE_DATASET/RICE1/label")},
        rule="rice",
        example=("7.png", "7.png"),
        config="rice1",
        citation=_RICE,
    ),
    PublicSet(
        name="rice2",
        title="RICE2",
        text="Satellite images of 512x512 under real cloud, much of it opaque; its cloud masks (mask/) are not read.",
        page="https://github.com/BUPTLdy/RICE_DATASET",
        splits={"train": ("RICE_DATASET/RICE2/cloud", "RICE_DATASET/RICE2/label")},
        rule="rice",
        example=("7.png", "7.png"),
        config="rice1",
        citation=_RICE,
    ),
    PublicSet(
        name="its",
        title="RESIDE ITS",
        text="Indoor images of 620x460 with haze laid on by depth map, ten of each of 1,399 clear ones.",
        page=_RESIDE_PAGE,
        splits={"train": ("RESIDE/ITS/hazy", "RESIDE/ITS/clear")},
        rule="its",
        example=("1_1_0.90179.png", "1.png"),
        config="reside_its",
        citation=_RESIDE,
    ),
    PublicSet(
        name="ots",
        title="RESIDE OTS",
        text="Outdoor photographs with haze laid on by estimated depth, 35 of each clear one.",
        page=_RESIDE_PAGE,
        splits={"train": ("RESIDE/OTS/hazy", "RESIDE/OTS/clear")},
        rule="sots_outdoor",
        example=("0001_0.8_0.04.jpg", "0001.jpg"),
        config="sots_outdoor",
        citation=_RESIDE,
        unpack="the parts of the hazy images (part1, part2, ...) may stay folders of their own below hazy/",
    ),
    PublicSet(
        name="sots_indoor",
        title="RESIDE SOTS, indoor",
        text="The indoor test set of RESIDE: 500 hazy images of 620x460, ten of each of 50 clear ones.",
        page=_RESIDE_PAGE,
        splits={"test": ("RESIDE/SOTS/indoor/hazy", "RESIDE/SOTS/indoor/gt")},
        rule="sots_indoor",
        example=("1400_3.png", "1400.png"),
        config="reside_its",
        citation=_RESIDE,
        size_mismatch="center_crop",  # the clear ones have a white border of 10 pixels around them
    ),
    PublicSet(
        name="sots_outdoor",
        title="RESIDE SOTS, outdoor",
        text="The outdoor test set of RESIDE: 500 hazy photographs of 492 clear ones, about 550x412.",
        page=_RESIDE_PAGE,
        splits={"test": ("RESIDE/SOTS/outdoor/hazy", "RESIDE/SOTS/outdoor/gt")},
        rule="sots_outdoor",
        example=("0001_0.8_0.2.jpg", "0001.png"),
        config="sots_outdoor",
        citation=_RESIDE,
    ),
    PublicSet(
        name="dense_haze",
        title="Dense-Haze",
        text="Real, dense haze from machines, 55 pairs of 1600x1200.",
        page=f"{_NTIRE}/ntire19/dense-haze/",
        splits={"train": ("Dense_Haze_NTIRE19/hazy", "Dense_Haze_NTIRE19/GT")},
        rule="dense_haze",
        example=("01_hazy.png", "01_GT.png"),
        config="dense_haze",
        citation=_DENSE_HAZE,
    ),
    PublicSet(
        name="nh_haze",
        title="NH-HAZE",
        text="Real haze from machines that is not homogeneous, 55 pairs of 1600x1200, in one folder.",
        page=f"{_NTIRE}/ntire20/nh-haze/",
        splits={"train": ("NH-HAZE", "NH-HAZE")},
        rule="dense_haze",
        example=("01_hazy.png", "01_GT.png"),
        config="nh_haze",
        citation=_NH_HAZE,
    ),
    PublicSet(
        name="o_haze",
        title="O-HAZE",
        text="Real haze from machines outdoors, 45 pairs of up to 5436x3612.",
        page=f"{_NTIRE}/ntire18/o-haze/",
        splits={"train": ("O-HAZE/hazy", "O-HAZE/GT")},
        rule="o_haze",
        example=("01_outdoor_hazy.jpg", "01_outdoor_GT.jpg"),
        config="o_haze",
        citation=_O_HAZE,
        unpack="its folder is called '# O-HAZY NTIRE 2018': rename it",
    ),
    PublicSet(
        name="i_haze",
        title="I-HAZE",
        text="Real haze from machines indoors, 35 scenes in the paper; large images.",
        page=f"{_NTIRE}/ntire18/i-haze/",
        splits={"train": ("I-HAZE/hazy", "I-HAZE/GT")},
        rule="i_haze",
        example=("01_indoor_hazy.jpg", "01_indoor_GT.jpg"),
        config="o_haze",
        citation=_I_HAZE,
        unpack="its folder is called '# I-HAZY NTIRE 2018': rename it",
    ),
    *(_satehaze1k(kind) for kind in ("thin", "moderate", "thick")),
)
