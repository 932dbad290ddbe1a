#!/usr/bin/perl
# Makes the console's font twice as wide and high, so that a screen has half as many columns and lines.
# The font is the kernel's own, with four dots for each dot. There are no other sizes.
use strict;
use warnings;

# include/uapi/linux/kd.h: the ioctl; an operation is (op, flags, width, height, charcount, data).
my ($KDFONTOP, $SET_TALL, $GET_TALL) = (0x4B72, 4, 5);
open(my $tty, '+<', $ARGV[0]) or die "$ARGV[0]: $!\n";
# The kernel writes a character every so many rows, whatever its height is.
my $rows = 128;
my $font = "\0" x (512 * 8 * $rows);
my $op = pack('IIIII x4 P', $GET_TALL, 0, 64, $rows, 512, $font);
ioctl($tty, $KDFONTOP, $op) or die "reading the font: $!\n";
my (undef, undef, $width, $height, $count) = unpack('IIIII', $op);
my $pitch = int(($width + 7) / 8);
my $wide = int((2 * $width + 7) / 8) * 8;
my $double = '';
for my $row (map { my $at = $_ * $rows; $at .. $at + $height - 1 } 0 .. $count - 1) {
    my $dots = substr(unpack('B*', substr($font, $row * $pitch, $pitch)), 0, $width);
    $dots =~ s/(.)/$1$1/g;
    $double .= pack('B*', $dots . '0' x ($wide - length $dots)) x 2;
}
$op = pack('IIIII x4 P', $SET_TALL, 0, 2 * $width, 2 * $height, $count, $double);
ioctl($tty, $KDFONTOP, $op) or die "setting the font: $!\n";
print "${\(2 * $width)}x${\(2 * $height)}\n";
