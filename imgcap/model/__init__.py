"""The captioner as transformers knows it.

The modules here import nothing from the rest of imgcap, because they are pushed to the Hub beside the weights and must
run there alone. This file is not pushed: it registers the classes with the Auto classes of this process.
"""

from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before torchvision and transformers

from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor

from .configuration_imgcap import ImgcapConfig
from .modeling_imgcap import ImgcapForImageCaptioning
from .processing_imgcap import ImgcapImageProcessor, ImgcapProcessor

__all__ = ["ImgcapConfig", "ImgcapForImageCaptioning", "ImgcapImageProcessor", "ImgcapProcessor"]

AutoConfig.register(ImgcapConfig.model_type, ImgcapConfig)
AutoModelForImageTextToText.register(ImgcapConfig, ImgcapForImageCaptioning)
AutoImageProcessor.register(ImgcapConfig, image_processor_classes={"torchvision": ImgcapImageProcessor})
AutoProcessor.register(ImgcapConfig, ImgcapProcessor)
# From here on save_pretrained writes these modules beside the weights.
ImgcapConfig.register_for_auto_class()
ImgcapForImageCaptioning.register_for_auto_class("AutoModelForImageTextToText")
ImgcapImageProcessor.register_for_auto_class("AutoImageProcessor")
ImgcapProcessor.register_for_auto_class("AutoProcessor")
