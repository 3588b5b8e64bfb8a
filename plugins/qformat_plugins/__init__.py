"""The schemes that come with qformat, through the same door as anyone's."""
