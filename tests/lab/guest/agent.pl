#!/usr/bin/perl
# The laboratory's hand in the guest: runs commands that the host sends over a virtio-serial port.
# One answer per request, whatever happens to the command. Requests run side by side; each has a deadline.
# There are no terminals (that is what the serial console is for), no authentication and no wall-clock time (the host
# sets the clock after a restore, so deadlines count uptime).
#
# Request:  "ID VERB SECONDS ARG_LEN DATA_LEN\n" arg data     VERB: run (data is stdin), put, get
# Answer:   "\n#lab ID STATUS OUT_LEN ERR_LEN\n" out err    STATUS: exit code, 128 + signal, 124 deadline
#
# The first answer is to request 0, which nobody made: it says that the agent is there. The firmware's own driver for
# such ports swallows what is sent before.
use strict;
use warnings;
use Fcntl;
use POSIX ();

my $spool = '/run/lab-agent';
mkdir $spool, 0700;
my $port;
for (1 .. 600) {    # udev makes the link in its own time
    last if sysopen($port, '/dev/virtio-ports/lab.agent', O_RDWR | O_NONBLOCK);
    select(undef, undef, undef, 0.1);
}
die "lab.agent: $!\n" unless $port;
binmode $port;
$SIG{CHLD} = sub { };
$SIG{PIPE} = 'IGNORE';

my $buffer = '';
my $need = 0;    # length of the request at the buffer's head, once that is known: looking at it costs a copy
my %jobs;

sub uptime { open(my $f, '<', '/proc/uptime') or return 0; my ($s) = split / /, <$f>; return $s; }

sub slurp {
    my ($path) = @_;
    open(my $f, '<:raw', $path) or return;
    local $/;
    my $content = <$f>;
    return defined $content ? $content : '';
}

sub answer {
    my ($id, $status, $out, $err) = @_;
    my $message = sprintf("\n#lab %s %d %d %d\n", $id, $status, length $out, length $err) . $out . $err;
    my $at = 0;
    while ($at < length $message) {
        my $n = syswrite($port, $message, 65536, $at);
        if (defined $n) { $at += $n; next; }
        return unless $!{EAGAIN} || $!{EINTR};
        my $w = ''; vec($w, fileno($port), 1) = 1;
        select(undef, $w, undef, 0.1);
    }
}

sub start {
    my ($id, $seconds, $command, $stdin) = @_;
    my $base = "$spool/$id";
    if (open(my $f, '>:raw', "$base.in")) { print $f $stdin; close $f; }
    my $pid = fork();
    return answer($id, 126, '', "fork: $!\n") unless defined $pid;
    if ($pid == 0) {
        POSIX::setsid();
        $SIG{CHLD} = 'DEFAULT';
        $SIG{PIPE} = 'DEFAULT';
        close $port;
        open(STDIN, '<', "$base.in");
        open(STDOUT, '>', "$base.out");
        open(STDERR, '>', "$base.err");
        exec('/bin/bash', '-c', $command) or POSIX::_exit(127);
    }
    $jobs{$pid} = { id => $id, base => $base, deadline => uptime() + $seconds, late => 0 };
}

sub finish {
    my ($pid, $wait) = @_;
    my $job = delete $jobs{$pid} or return;
    my $status = ($wait & 127) ? 128 + ($wait & 127) : $wait >> 8;
    $status = 124 if $job->{late};
    my $out = slurp("$job->{base}.out");
    my $err = slurp("$job->{base}.err");
    unlink map { "$job->{base}.$_" } qw(in out err);
    answer($job->{id}, $status, defined $out ? $out : '', defined $err ? $err : '');
}

sub request {
    my ($id, $verb, $seconds, $arg, $data) = @_;
    if ($verb eq 'run') {
        start($id, $seconds, $arg, $data);
    } elsif ($verb eq 'put') {
        my $ok = open(my $f, '>:raw', $arg);
        $ok &&= print $f $data;
        $ok &&= close $f;
        answer($id, $ok ? 0 : 1, '', $ok ? '' : "$arg: $!\n");
    } elsif ($verb eq 'get') {
        my $content = slurp($arg);
        answer($id, defined $content ? 0 : 1, defined $content ? $content : '', defined $content ? '' : "$arg: $!\n");
    } else {
        answer($id, 127, '', "unknown verb $verb\n");
    }
}

answer(0, 0, '', '');
while (1) {
    while (length $buffer >= $need && $buffer =~ /^(\d+) (\w+) (\d+) (\d+) (\d+)\n/) {
        my ($id, $verb, $seconds, $arg_len, $data_len, $head) = ($1, $2, $3, $4, $5, $+[0]);
        $need = $head + $arg_len + $data_len;
        last if length($buffer) < $need;
        my $arg  = substr($buffer, $head, $arg_len);
        my $data = substr($buffer, $head + $arg_len, $data_len);
        $buffer = substr($buffer, $need);
        $need = 0;
        request($id, $verb, $seconds, $arg, $data);
    }
    while ((my $pid = waitpid(-1, POSIX::WNOHANG())) > 0) { finish($pid, $?); }
    my $now = uptime();
    for my $pid (keys %jobs) {
        next if $jobs{$pid}{late} || $now < $jobs{$pid}{deadline};
        $jobs{$pid}{late} = 1;
        kill 'KILL', -$pid;
    }
    my $r = ''; vec($r, fileno($port), 1) = 1;
    if (select($r, undef, undef, %jobs ? 0.1 : 0.5) > 0) {
        my $n = sysread($port, $buffer, 65536, length $buffer);
        if (defined $n && $n == 0) { $buffer = ''; $need = 0; select(undef, undef, undef, 0.1); }    # nobody at the other end
    }
}
